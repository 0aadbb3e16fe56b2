"""Plans of workflows with models of core: Wan, Qwen-Image, SDXL, Stable Diffusion 3.5 and Flux."""

from __future__ import annotations

from build_workflows import Box, Group, Plan

from workflow_plans.parts import (
    MODELS,
    PROMPT,
    WAN_NEGATIVE,
    decode_and_save,
    encode,
    load_model,
    load_qwen_words,
    load_umt5,
    load_vae,
)


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
| solver | FlowUniPC, order 2, bh2; core's **uni_pc** is another discretisation |
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
| *Wan Lite Load Qwen/Wan VAE* | core's *Load VAE* |
| *Wan Lite VAE Decode* | core's *VAE Decode* and *VAE Decode (Tiled)* |

Everything else is core's own graph: shift 3.1 on the model, **euler**, **simple**, 20 steps, guidance 2.5.

**tiling** *auto* takes the memory that is free; *budget* keeps within **budget_mb**. Core's decode nodes take this VAE as well.""",
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
                load_qwen_words(),
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

Core's **ddim** is Euler under another name; this is the paper's update, with **eta** and **clip_x0** to set.

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
| guidance | **cfg** 1: the negative prompt is not evaluated |

For Flux dev take 20 steps, order 2, shift 3.16 (its own shift at 1024×1024 is e^1.15) and core's *FluxGuidance* 3.5 behind the prompt.""",
    "flux1-schnell-fp8.safetensors",
    Box("solver", "WanLiteSolverFlowUniPC", "Solver FlowUniPC", {"order": 1}),
    Box("sigmas", "WanLiteFlowSchedule", "Flow Schedule", {"steps": 4, "shift": 1.0}),
    {"cfg": 1.0},
)

PLANS = (WAN21_STILL, WAN22_STILL, QWEN_STILL, SDXL, SD35, FLUX)
