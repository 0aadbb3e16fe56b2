"""The workflows that are written by ``build_workflows.py``: what stands where, and the note of each."""

from __future__ import annotations

from build_workflows import Box, Group, Plan

_HUB = "https://huggingface.co"
_WAN21 = f"{_HUB}/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
_WAN22 = f"{_HUB}/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
_QWEN = f"{_HUB}/Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files"

UMT5 = "umt5_xxl_fp8_e4m3fn_scaled.safetensors"
MODELS = {
    UMT5: (f"{_WAN21}/text_encoders/{UMT5}", "text_encoders"),
    "wan2.1_t2v_1.3B_fp16.safetensors": (
        f"{_WAN21}/diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors", "diffusion_models",
    ),
    "wan2.2_ti2v_5B_fp16.safetensors": (
        f"{_WAN22}/diffusion_models/wan2.2_ti2v_5B_fp16.safetensors", "diffusion_models",
    ),
    "wan_2.1_vae.safetensors": (f"{_WAN22}/vae/wan_2.1_vae.safetensors", "vae"),
    "wan2.2_vae.safetensors": (f"{_WAN22}/vae/wan2.2_vae.safetensors", "vae"),
    "qwen_image_fp8_e4m3fn.safetensors": (
        f"{_QWEN}/diffusion_models/qwen_image_fp8_e4m3fn.safetensors", "diffusion_models",
    ),
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": (
        f"{_QWEN}/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors", "text_encoders",
    ),
    "qwen_image_vae.safetensors": (f"{_QWEN}/vae/qwen_image_vae.safetensors", "vae"),
    "sd_xl_base_1.0.safetensors": (
        f"{_HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors", "checkpoints",
    ),
    "sd3.5_large_fp8_scaled.safetensors": (
        f"{_HUB}/Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/sd3.5_large_fp8_scaled.safetensors", "checkpoints",
    ),
    "flux1-schnell-fp8.safetensors": (
        f"{_HUB}/Comfy-Org/flux1-schnell/resolve/main/flux1-schnell-fp8.safetensors", "checkpoints",
    ),
}  # fmt: skip
"""Files that workflows name, with where each is downloaded from; addresses as ComfyUI's own templates give them."""

PROMPT = "A lighthouse on a rocky coast at dusk, its beam sweeping over the sea, long exposure, photograph"
WAN_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，"
    "背景人很多，倒着走"
)
DEMO = "wan-lite-demo"


def load_umt5(title: str = "Text encoder: umT5-XXL, type wan") -> Box:
    """Wan's text encoder in core's loader."""
    return Box("clip", "CLIPLoader", title, {"clip_name": UMT5, "type": "wan"}, models={UMT5: MODELS[UMT5]})


def load_model(name: str, title: str = "Model") -> Box:
    """A diffusion model in core's loader."""
    return Box("model", "UNETLoader", title, {"unet_name": name}, models={name: MODELS[name]})


def load_vae(name: str, title: str) -> Box:
    """A VAE in this pack's loader."""
    return Box("vae", "WanLiteVAELoader", title, {"vae_name": name}, models={name: MODELS[name]})


def encode(key: str, title: str, text: str, clip: str = "clip") -> Box:
    """A prompt."""
    return Box(key, "CLIPTextEncode", title, {"text": text}, {"clip": clip})


def decode_and_save(prefix: str, latent: str = "sampler", vae: str = "vae") -> list[Box]:
    """From the finished latent to a saved image."""
    return [
        Box("decode", "WanLiteVAEDecode", "Decode", {}, {"samples": latent, "vae": vae}),
        Box("save", "SaveImage", "Save", {"filename_prefix": f"wan-lite/{prefix}"}, {"images": "decode"}),
    ]


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


def plan_wan_still(name: str, note: str, model: str, vae: str, shift: float, size: tuple[int, int]) -> Plan:
    """A still with a Wan of core and this pack's sampler: what Wan's own code does with one frame."""
    width, height = size
    latent = Box("latent", "WanLiteEmptyLatent", "One frame", {"width": width, "height": height}, {"model": "model"})
    sampler = Box(
        "sampler",
        "WanLiteFlowUniPCSampler",
        "Wan's own sampler",
        {"seed": 7, "steps": 50, "cfg": 5.0, "shift": shift},
        {"model": "model", "positive": "positive", "negative": "negative", "latent_image": "latent"},
    )
    return Plan(
        name,
        note,
        [
            [Group("Model and size", [load_model(model), latent, load_umt5()])],
            [Group("Words", [encode("positive", "Prompt", PROMPT), encode("negative", "Negative", WAN_NEGATIVE)])],
            [Group("Sampling", [sampler, load_vae(vae, "VAE")])],
            [Group("Image", decode_and_save(name))],
        ],
    )


WAN21_STILL = plan_wan_still(
    "wan21_still",
    """# Wan 2.1, 1.3B: one still as Wan's own code samples it

No student here: core's own model, with the sampler, the schedule and the timesteps of the official code.

| number | Wan's own |
|---|---|
| solver | FlowUniPC, order 2, bh2; core's `uni_pc` is another discretisation |
| steps | 50 |
| shift | **3** at 480p, 5 at 720p; applied once, in the sampler |
| timesteps | integers, truncated: 999, 992, … |
| guidance | 5, with Wan's long negative prompt |
| VAE | Wan **2.1**, 16 channels, 8 pixels a cell |

Leave *ModelSamplingSD3* out: with a shift on the model as well, the run stops and names both.

**You already have a KSampler graph?** Put *FlowUniPC Sampler* in its place and take out *ModelSamplingSD3*; nothing else changes.""",
    "wan2.1_t2v_1.3B_fp16.safetensors",
    "wan_2.1_vae.safetensors",
    3.0,
    (832, 480),
)

WAN22_STILL = plan_wan_still(
    "wan22_5b_still",
    """# Wan 2.2, 5B: one still as Wan's own code samples it

The TI2V-5B is the only Wan with the **2.2 VAE**: 48 channels, 16 pixels a cell. The 14B models of Wan 2.2 use the 2.1 VAE.

| number | Wan's own |
|---|---|
| solver | FlowUniPC, order 2, bh2 |
| steps | 50 |
| shift | **5**, applied once, in the sampler |
| guidance | 5, with Wan's long negative prompt |
| size | 1280×704: sides are multiples of 32 |
| VAE | Wan **2.2** |

The empty latent takes its channels and its cells from the model, so that it cannot be the other Wan's.

With the wrong VAE the run stops and names the right one.""",
    "wan2.2_ti2v_5B_fp16.safetensors",
    "wan2.2_vae.safetensors",
    5.0,
    (1280, 704),
)

QWEN_STILL = Plan(
    "qwen_image_still",
    """# Qwen-Image with this pack's VAE

Qwen-Image's VAE has the architecture of Wan's 2.1 VAE. Here it decodes strip by strip: the same pixels to the last digit at any memory budget, without the seams of tiled decoding.

| node | in place of |
|---|---|
| *Wan Lite Load VAE* | core's *Load VAE* |
| *Wan Lite VAE Decode* | core's *VAE Decode* and *VAE Decode (Tiled)* |

Everything else is core's own graph: shift 3.1 on the model, `euler`, `simple`, 20 steps, guidance 2.5.

`tiling` *auto* takes the memory that is free; *budget* keeps within `budget_mb`. Core's decode nodes take this VAE as well.""",
    [
        [
            Group("Model and size", [
                load_model("qwen_image_fp8_e4m3fn.safetensors"),
                Box("shifted", "ModelSamplingAuraFlow", "Shift, as core's template has it", {"shift": 3.1}, {"model": "model"}),
                Box("latent", "EmptySD3LatentImage", "Empty latent", {"width": 1328, "height": 1328}),
            ]),
        ],
        [
            Group("Words", [
                Box("clip", "CLIPLoader", "Text encoder: Qwen 2.5 VL, type qwen_image", {
                    "clip_name": "qwen_2.5_vl_7b_fp8_scaled.safetensors", "type": "qwen_image",
                }, models={"qwen_2.5_vl_7b_fp8_scaled.safetensors": MODELS["qwen_2.5_vl_7b_fp8_scaled.safetensors"]}),
                encode("positive", "Prompt", PROMPT),
                encode("negative", "Negative", ""),
            ]),
        ],
        [
            Group("Sampling", [
                Box("sampler", "KSampler", "Core's sampler", {
                    "seed": 7, "steps": 20, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple",
                }, {"model": "shifted", "positive": "positive", "negative": "negative", "latent_image": "latent"}),
                load_vae("qwen_image_vae.safetensors", "Qwen-Image VAE"),
            ]),
        ],
        [Group("Image", decode_and_save("qwen_image"))],
    ],
)  # fmt: skip


def plan_other_model(
    name: str, note: str, checkpoint: str, solver: Box, schedule: Box, numbers: dict[str, float]
) -> Plan:
    """Another model of core with a solver and a schedule of this pack."""
    latent_type = "EmptyLatentImage" if "xl" in checkpoint else "EmptySD3LatentImage"
    side = {"width": 1024, "height": 1024}
    return Plan(
        name,
        note,
        [
            [
                Group("Model and size", [
                    Box("model", "CheckpointLoaderSimple", "Checkpoint", {"ckpt_name": checkpoint},
                        models={checkpoint: MODELS[checkpoint]}),
                    Box("latent", latent_type, "Empty latent", side),
                ]),
            ],
            [
                Group("Words", [
                    encode("positive", "Prompt", PROMPT, "model.1"),
                    encode("negative", "Negative", "", "model.1"),
                    Box("guider", "CFGGuider", "Guidance", {"cfg": numbers["cfg"]}, {
                        "model": "model", "positive": "positive", "negative": "negative",
                    }),
                ]),
            ],
            [
                Group("Solver and schedule of this pack", [solver, schedule,
                    Box("noise", "WanLiteNoise", "Noise", {"noise_seed": 7})]),
            ],
            [
                Group("Sampling and image", [
                    Box("sampler", "SamplerCustomAdvanced", "Core's sampling", {}, {
                        "noise": "noise", "guider": "guider", "sampler": solver.key, "sigmas": schedule.key,
                        "latent_image": "latent",
                    }),
                    Box("decode", "VAEDecode", "Decode with the model's own VAE", {}, {"samples": "sampler", "vae": "model.2"}),
                    Box("save", "SaveImage", "Save", {"filename_prefix": f"wan-lite/{name}"}, {"images": "decode"}),
                ]),
            ],
        ],
    )  # fmt: skip


SDXL = plan_other_model(
    "sdxl_ddim",
    """# DDIM on SDXL

The solvers of this pack are SAMPLERs of core and take any MODEL. SDXL predicts noise over core's own sigmas, so its schedule is made **for the connected MODEL**.

| number | value |
|---|---|
| solver | DDIM, eta 0 |
| schedule | the training loop's DDIM spacing, in this model's own sigmas |
| steps | 30 |
| guidance | 6 |

Core's `ddim` is Euler under another name; this is the paper's update, with `eta` and `clip_x0` to set.

A flow schedule (*Flow Schedule*) on this model is refused: its sigmas end at 1 where SDXL's go to 14.6.""",
    "sd_xl_base_1.0.safetensors",
    Box("solver", "WanLiteSolverDDIM", "Solver DDIM"),
    Box("sigmas", "WanLiteDDIMSchedule", "DDIM Schedule for this MODEL", {"steps": 30}, {"model": "model"}),
    {"cfg": 6.0},
)

SD35 = plan_other_model(
    "sd35_flow_unipc",
    """# FlowUniPC on Stable Diffusion 3.5

SD 3.5 is a flow model like Wan, so Wan's own solver runs on it. Two steps of history give a smooth result in few steps.

| number | value |
|---|---|
| solver | FlowUniPC, order 2, with corrector |
| shift | **3**, SD 3.5's own, applied once, in *Flow Schedule* |
| steps | 24 |
| guidance | 4.5 |

The model's own shift (3) is no patch and does not count twice: SIGMAS made here replace it. A *ModelSamplingSD3* with another value is refused with both numbers.""",
    "sd3.5_large_fp8_scaled.safetensors",
    Box("solver", "WanLiteSolverFlowUniPC", "Solver FlowUniPC"),
    Box("sigmas", "WanLiteFlowSchedule", "Flow Schedule", {"steps": 24, "shift": 3.0}),
    {"cfg": 4.5},
)

FLUX = plan_other_model(
    "flux_flow_unipc",
    """# FlowUniPC on Flux schnell

Flux schnell was distilled to a few steps without a shift, so the schedule here has shift 1.

| number | value |
|---|---|
| solver | FlowUniPC, **order 1** in four steps: no history to build up |
| shift | **1**: none |
| steps | 4 |
| guidance | `cfg` 1: the negative prompt is not evaluated |

For Flux dev take 20 steps, order 2, shift 3.16 (its own shift at 1024×1024 is e^1.15) and core's *FluxGuidance* 3.5 behind the prompt.""",
    "flux1-schnell-fp8.safetensors",
    Box("solver", "WanLiteSolverFlowUniPC", "Solver FlowUniPC", {"order": 1}),
    Box("sigmas", "WanLiteFlowSchedule", "Flow Schedule", {"steps": 4, "shift": 1.0}),
    {"cfg": 1.0},
)

PLANS = (WORDS, PREVIEW, WAN21_STILL, WAN22_STILL, QWEN_STILL, SDXL, SD35, FLUX)
