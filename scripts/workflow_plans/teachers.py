"""Plans of workflows with the teacher."""

from __future__ import annotations

from build_workflows import Box, Group, Plan

from workflow_plans.parts import MODELS, PROMPT, WAN_NEGATIVE

TWO_EXPERTS = Plan(
    'teacher_two_experts',
    """# The teacher, sampled as its own code does

Wan 2.2 T2V **A14B** is two networks. Wan's code runs **one** solver over both: at every step the timestep, truncated to an integer, decides which network is asked, and with which guidance. The solver's history runs on across the change.

| number | Wan's own |
|---|---|
| steps | 40 |
| shift | 12 |
| boundary | 0.875: high noise while the timestep is at least 875 |
| guidance | 4 above the boundary, 3 below |
| solver | FlowUniPC, order 2 |
| frames | 1 here, a still; 81 for Wan's video |

Two KSamplers in a row are something else: the second starts without history, and on core's **uni_pc** grid.

**Shift is applied once**, in *Flow Schedule*. Leave ModelSamplingSD3 out: with another shift on a model the run stops and names both.

Only one network needs to fit on the card: the second is loaded when its first step comes.

**Files** (offered for download when they are missing): both diffusion models (14 GB each in fp8), umT5-XXL, the Wan **2.1** VAE. The A14B does not use the 2.2 VAE.

To compare a student with its teacher, take the same prompt and seed in *student_flow_unipc*.""",
    [
        [
            Group("Two experts", [
                Box('expert_1', 'UNETLoader', "High-noise expert", {"unet_name": "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors"}, models={'wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors': MODELS['wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors']}, id=2),
                Box('expert_2', 'UNETLoader', "Low-noise expert", {"unet_name": "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors"}, models={'wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors': MODELS['wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors']}, id=3),
            ]),
            Group("Text encoder", [
                Box('clip', 'CLIPLoader', "Load CLIP", {"clip_name": "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "type": "wan"}, models={'umt5_xxl_fp8_e4m3fn_scaled.safetensors': MODELS['umt5_xxl_fp8_e4m3fn_scaled.safetensors']}, id=4),
            ]),
        ],
        [
            Group("Text", [
                Box('prompt_1', 'CLIPTextEncode', "Prompt", {"text": PROMPT}, {"clip": "clip"}, id=5),
                Box('prompt_2', 'CLIPTextEncode', "Negative prompt (Wan's own)", {"text": WAN_NEGATIVE}, {"clip": "clip"}, height=200, id=6),
            ]),
        ],
        [
            Group("One solver, every number in sight", [
                Box('guider', 'WanLiteExpertsGuider', "Experts Guider", {}, {"model_high_noise": "expert_1", "model_low_noise": "expert_2", "positive": "prompt_1", "negative": "prompt_2"}, id=7),
                Box('solver', 'WanLiteSolverFlowUniPC', "Solver FlowUniPC", id=8),
                Box('sigmas', 'WanLiteFlowSchedule', "Flow Schedule", {"steps": 40, "shift": 12.0}, id=9),
            ]),
        ],
        [
            Group("Sampling", [
                Box('noise', 'WanLiteNoise', "Noise", {"noise_seed": 7}, id=10),
                Box('latent', 'EmptyHunyuanLatentVideo', "Length 1 is a still", {"width": 832, "length": 1}, id=11),
                Box('sampler', 'SamplerCustomAdvanced', "SamplerCustomAdvanced", {}, {"noise": "noise", "guider": "guider", "sampler": "solver", "sigmas": "sigmas", "latent_image": "latent"}, id=12),
            ]),
            Group("The VAE", [
                Box('vae', 'WanLiteVAELoader', "Load VAE", {"vae_name": "wan_2.1_vae.safetensors"}, models={'wan_2.1_vae.safetensors': MODELS['wan_2.1_vae.safetensors']}, id=15),
            ]),
        ],
        [
            Group("The schedule", [
                Box('plot', 'WanLiteSchedulePlot', "Schedule Plot", {}, {"sigmas": "sigmas"}, id=13, folded=True),
                Box('preview', 'PreviewImage', "The 40 noise levels", {}, {"images": "plot"}, height=180, id=14),
            ]),
            Group("Image", [
                Box('decode', 'WanLiteVAEDecode', "VAE Decode", {}, {"samples": "sampler", "vae": "vae"}, id=16, folded=True),
                Box('save', 'SaveImage', "Save Image", {"filename_prefix": "wan-lite/teacher"}, {"images": "decode"}, height=300, id=17),
            ]),
        ],
    ],
    note_title='What this is',
    note_size=(450, 560),
    width=(290, 250, 250, 250, 260),
)  # fmt: skip

PLANS = (TWO_EXPERTS,)
