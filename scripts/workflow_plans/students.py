"""Plans of workflows with students."""

from __future__ import annotations

from build_workflows import Box, Group, Plan

from workflow_plans.parts import DEMO, PROMPT, decode_and_save, encode, load_umt5

WORDS = Plan(
    "student_from_words",
    """# A student and your own words

The other student workflows read encoded captions from a file. This one encodes what you type, with Wan's own text encoder.

1. Choose **your own student** in *Student*: a folder that WanDistiller saved, or one file, in `models/wan_students`. (The demo students know 36 captions of 64 numbers a token; umT5-XXL gives 4096, and the run then says so.)
2. Type the prompt and run.

| what | must be |
|---|---|
| text encoder | umT5-XXL, type **wan** |
| padding | does not count: the text is averaged over the prompt's own tokens |
| guidance | `cfg` 1, as the student was trained |
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
| steps | **10** (`run_inference` has 20) |
| timesteps | 999, 888, 777, … 111, 0 |
| output read as | noise (epsilon), alpha² = 1 − t/1000 |
| guidance | none (`cfg` 1) |

Each image has its own caption and its own seed: image *i* is `seed + i`.

WanDistiller encodes the prompts of one preview together and averages the shorter ones over their padding, too. A prompt alone, as here, is what `run_inference` does.""",
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

PLANS = (WORDS, PREVIEW)
