"""Plans of workflows with students."""

from __future__ import annotations

from build_workflows import Box, Group, Plan

from workflow_plans.parts import DEMO, PROMPT, decode_and_save, encode, load_umt5

WORDS = Plan(
    "student_from_words",
    """# A student and your own words

The other student workflows read encoded captions from a file. This one encodes what you type, with Wan's own text encoder.

1. Choose **your own student** in *Student*: a folder that WanDistiller saved, or one file, in **models/wan_students**. (The demo students know 36 captions of 64 numbers a token; umT5-XXL gives 4096, and the run then says so.)
2. Type the prompt and run.

| what | must be |
|---|---|
| text encoder | umT5-XXL, type **wan** |
| padding | does not count: the text is averaged over the prompt's own tokens |
| guidance | **cfg** 1, as the student was trained |
| sampler | the one in the student's contract; this one is Wan's FlowUniPC |

*Wan Lite Save Text Embeds* behind the prompt keeps it in a file, so that the text encoder, 7 GB, is needed once only.""",
    [
        [
            Group("The student", [
                Box("model", "WanLiteStudentLoader", "Student", {
                    "student_name": f"{DEMO}/student_flow.safetensors", "contract_preset": "flow_unipc-20 shift 5",
                }),
                Box("latent", "WanLiteEmptyLatent", "A latent of its own size", {}, {"model": "model"}),
            ]),
        ],
        [Group("The words", [load_umt5(), encode("positive", "Prompt", PROMPT)])],
        [
            Group("Sampling", [
                Box("sampler", "WanLiteFlowUniPCSampler", "FlowUniPC as Wan runs it", {"seed": 7}, {
                    "model": "model", "positive": "positive", "latent_image": "latent",
                }),
                Box("vae", "WanLiteVAELoader", "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}),
            ]),
        ],
        [Group("Image", decode_and_save("words"))],
    ],
)  # fmt: skip

PREVIEW = Plan(
    "student_training_preview",
    """# The training preview: DDIM, 10 steps

What WanDistiller writes into its sample folder during training, to the last digit. Compare a checkpoint with its own previews before you doubt either.

| number | value |
|---|---|
| solver | DDIM, eta 0 |
| steps | **10** (**run_inference** has 20) |
| timesteps | 999, 888, 777, … 111, 0 |
| output read as | noise (epsilon), alpha² = 1 − t/1000 |
| guidance | none (**cfg** 1) |

Each image has its own caption and its own seed: image *i* is **seed + i**.

WanDistiller encodes the prompts of one preview together and averages the shorter ones over their padding, too. A prompt alone, as here, is what **run_inference** does.""",
    [
        [
            Group("The student", [
                Box("model", "WanLiteStudentLoader", "Student", {
                    "student_name": f"{DEMO}/student_ddim.safetensors", "contract_preset": "ddim-10 training preview",
                }),
                Box("latent", "WanLiteEmptyLatent", "Eight latents of its own size", {"batch_size": 8}, {"model": "model"}),
            ]),
        ],
        [
            Group("Sampling", [
                Box("text", "WanLiteTextEmbedsLoad", "Prompts", {"name": f"{DEMO}/captions.safetensors"}),
                Box("sampler", "WanLiteDDIMSampler", "DDIM, 10 steps", {"seed": 3, "steps": 10}, {
                    "model": "model", "positive": "text", "latent_image": "latent",
                }),
            ]),
        ],
        [
            Group("Image", [
                Box("vae", "WanLiteVAELoader", "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}),
                *decode_and_save("preview"),
            ]),
        ],
    ],
)  # fmt: skip


DDIM_TRAINING = Plan(
    'student_ddim_training_sampling',
    """# The sampling of the training run

**DDIM, 20 steps, shift 1**: what WanDistiller's **run_inference.py** does; with **10 steps**, what its training previews show.

| number | value |
|---|---|
| timesteps | **linspace(999, 0, steps)**, truncated |
| alpha² | **1 − t/1000**, within 0.001 … 0.999 |
| last step | to alpha = 1 exactly |
| output read as | noise (epsilon) |
| guidance | none (**cfg** 1) |

**shift** 1 *is* the training schedule; another value bends it, once, here.

The student's **sampling contract** says all this. Where the sampler's numbers contradict it, the run stops and names both (**on_mismatch**). A folder without a contract takes the preset chosen in *Student*.

A student that learned the teacher's velocity wants *student_flow_unipc* instead. Not sure? *Wan Lite Sampling Probe* compares.

**Your own student**: put the folder that WanDistiller saved (**config.json**, weights, **output_proj.safetensors**) into **models/wan_students**, press **R**, choose it in *Student*. **image_size** 1024 means a 64×64 latent and a **512×512** image.

**Your own words**: encode with core's *Load CLIP* (umT5-XXL, type **wan**) and *CLIP Text Encode*, connect it to **positive**. *Wan Lite Save Text Embeds* keeps the result, so that the 11 GB encoder runs once only. Padding does not count: the text is averaged over the prompt's own tokens.""",
    [
        [
            Group("The student", [
                Box('model', 'WanLiteStudentLoader', "Student", {"student_name": f"{DEMO}/student_ddim.safetensors", "contract_preset": "ddim-20 run_inference"}, id=2),
                Box('latent', 'WanLiteEmptyLatent', "Twelve latents in its own size", {"batch_size": 12}, {"model": "model"}, id=3),
                Box('text', 'WanLiteTextEmbedsLoad', "Prompts: image i gets prompt i", {"name": f"{DEMO}/captions.safetensors"}, id=4),
            ]),
        ],
        [
            Group("Sampling, every number in sight", [
                Box('sampler', 'WanLiteDDIMSampler', "DDIM as in training", {"seed": 7}, {"model": "model", "positive": "text", "latent_image": "latent"}, id=5),
            ]),
            Group("The VAE", [
                Box('vae', 'WanLiteVAELoader', "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}, id=6),
            ]),
        ],
        [
            Group("Image", [
                Box('decode', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler", "vae": "vae"}, id=7),
                Box('save', 'SaveImage', "Save: contract inside", {"filename_prefix": "wan-lite/ddim"}, {"images": "decode"}, height=380, id=8),
            ]),
        ],
    ],
    note_title='What this reproduces',
    note_size=(450, 580),
)  # fmt: skip

FLOW_UNIPC = Plan(
    'student_flow_unipc',
    """# Wan's own sampler

**FlowUniPC, 20 steps, shift 5**: the official scheduler, digit for digit, which core's **uni_pc** is not.

| number | value |
|---|---|
| solver | UniPC, order 2, bh2, with corrector |
| sigmas | **shift(linspace(0.999, 0, steps + 1))** |
| timesteps | **1000·sigma**, truncated: 999, 989, 978, … |
| output read as | flow velocity |
| guidance | none (**cfg** 1) |

**Shift** is **s·t / (1 + (s − 1)·t)**, applied **once**, here. A *ModelSamplingSD3* in front of this sampler is refused, because shift 5 after shift 5 is shift 25. Wan uses 5, 3 at 480p, 12 for T2V-A14B.

The student's **sampling contract** says all this. Where the sampler's numbers contradict it, the run stops and names both (**on_mismatch**). A folder without a contract takes the preset chosen in *Student*.

A student that was judged by its training previews wants *student_ddim_training_sampling* instead.

**Your own student**: put the folder that WanDistiller saved (**config.json**, weights, **output_proj.safetensors**) into **models/wan_students**, press **R**, choose it in *Student*. **image_size** 1024 means a 64×64 latent and a **512×512** image.

**Your own words**: encode with core's *Load CLIP* (umT5-XXL, type **wan**) and *CLIP Text Encode*, connect it to **positive**. *Wan Lite Save Text Embeds* keeps the result, so that the 11 GB encoder runs once only. Padding does not count: the text is averaged over the prompt's own tokens.""",
    [
        [
            Group("The student", [
                Box('model', 'WanLiteStudentLoader', "Student", {"student_name": f"{DEMO}/student_flow.safetensors", "contract_preset": "flow_unipc-20 shift 5"}, id=2),
                Box('latent', 'WanLiteEmptyLatent', "Twelve latents in its own size", {"batch_size": 12}, {"model": "model"}, id=3),
                Box('text', 'WanLiteTextEmbedsLoad', "Prompts: image i gets prompt i", {"name": f"{DEMO}/captions.safetensors"}, id=4),
            ]),
        ],
        [
            Group("Sampling, every number in sight", [
                Box('sampler', 'WanLiteFlowUniPCSampler', "FlowUniPC as Wan runs it", {"seed": 7}, {"model": "model", "positive": "text", "latent_image": "latent"}, id=5),
            ]),
            Group("The VAE", [
                Box('vae', 'WanLiteVAELoader', "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}, id=6),
            ]),
        ],
        [
            Group("Image", [
                Box('decode', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler", "vae": "vae"}, id=7),
                Box('save', 'SaveImage', "Save: contract inside", {"filename_prefix": "wan-lite/flow_unipc"}, {"images": "decode"}, height=380, id=8),
            ]),
        ],
    ],
    note_title='What this reproduces',
    note_size=(450, 610),
)  # fmt: skip

PLANS = (WORDS, PREVIEW, DDIM_TRAINING, FLOW_UNIPC)
