"""Plans of workflows with published few-step students: every number in a note comes from the list of known students."""

from __future__ import annotations

from dataclasses import replace

from build_workflows import Box, Group, Plan

from wan_lite.models.known_students import load_known_students
from wan_lite.samplers.formatting import format_timesteps
from workflow_plans.parts import DEMO, MODELS, PROMPT, encode, load_model, load_qwen_words, load_umt5, load_vae

STUDENTS = load_known_students().students
VIDEO = {"width": 832, "height": 480, "length": 81}
MOTION = "A sailing boat crosses a bay at dusk, waves catch the last light, the camera follows slowly"
UPDATES = {"renoise": "fresh noise at each step (*renoise*)", "flow_euler": "Euler, no fresh noise"}


def describe(family: str) -> str:
    """The table of a note: what this student was trained on, and where that is written."""
    student = STUDENTS[family]
    contract = student.contract()
    assert contract is not None
    schedule = contract.schedule()
    levels = ", ".join(f"{sigma:.7g}" for sigma in schedule.sigma_values[:-1])
    rows = [
        ("steps", str(contract.steps)),
        ("levels", f"{levels}, then 0"),
        ("timesteps", f"**{format_timesteps(schedule).strip('[]')}**"),
        ("update", UPDATES[contract.solver]),
        ("guidance", f"**cfg** {contract.cfg:g}: no negative pass"),
    ]
    if contract.expert_boundary:
        rows.append(("experts", f"high noise down to timestep {1000 * contract.expert_boundary:g}, low noise below"))
    if contract.frames:
        rows.append(("frames in training", str(contract.frames)))
    if contract.lora_strength:
        rows.append(("LoRA strength", f"{contract.lora_strength:g}"))
    rows += [("or", f"{other.why} (**alternative** {n})") for n, other in enumerate(student.alternatives, 1)]
    source = student.sources[0]
    rows.append(("source", f"{source.repository} at {source.commit}: {source.paths[0]}"))
    return "\n".join(["| what | trained with |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def load_expert(key: str, name: str, title: str) -> Box:
    """A diffusion model in core's loader, under a key of its own."""
    return Box(key, "UNETLoader", title, {"unet_name": name}, models={name: MODELS[name]})


def load_lora(key: str, name: str, model: str, title: str = "Few-step LoRA") -> Box:
    """A LoRA that brings its contract."""
    return Box(key, "WanLiteLoadLoRA", title, {"lora_name": name}, {"model": model}, models={name: MODELS[name]})


def follow_contract(model: str, links: dict[str, str] | None = None) -> Box:
    """The node that finds the contract and makes MODEL, SAMPLER and SIGMAS."""
    return Box("contract", "WanLiteContractSampling", "As it was trained", {}, {"model": model, **(links or {})})


def sample(guider: Box, latent: str, noise: str = "RandomNoise") -> list[Box]:
    """Noise, guider and core's sampler."""
    return [
        Box("noise", noise, "Noise", {"noise_seed": 7}, folded=True),
        guider,
        Box("sampler", "SamplerCustomAdvanced", "Core's sampling", {}, {
            "noise": "noise", "guider": "guider", "sampler": "contract.1", "sigmas": "contract.2",
            "latent_image": latent,
        }),
    ]  # fmt: skip


def guide(conditioning: str = "positive") -> Box:
    """A guider without guidance, as few-step students are sampled."""
    return Box("guider", "BasicGuider", "No guidance", {}, {"model": "contract", "conditioning": conditioning},
               folded=True)  # fmt: skip


def decode_video(name: str, fps: int) -> list[Box]:
    """From the finished latent to a saved video."""
    return [
        Box("decode", "WanLiteVAEDecode", "Decode", {}, {"samples": "sampler", "vae": "vae"}),
        Box("save", "SaveAnimatedWEBP", "Save the video", {
            "filename_prefix": f"wan-lite/{name}", "fps": fps, "lossless": False, "quality": 85,
        }, {"images": "decode"}),
    ]  # fmt: skip


def empty_video(kind: str = "EmptyHunyuanLatentVideo") -> Box:
    """An empty latent of a video."""
    return Box("latent", kind, "81 frames, as in training", dict(VIDEO))


def plan_text_to_video(name: str, heading: str, family: str, more: str, models: list[Box]) -> Plan:
    """Text to video with one network, whose contract is found by itself."""
    return Plan(
        name,
        f"# {heading}\n\n{describe(family)}\n\n{more}",
        [
            [Group("Model and LoRA", models)],
            [Group("Words and size", [load_umt5(), encode("positive", "Prompt", MOTION), empty_video()])],
            [Group("Sampling", [follow_contract(models[-1].key), *sample(guide(), "latent")])],
            [Group("Video", [load_vae("wan_2.1_vae.safetensors", "Wan 2.1 VAE"), *decode_video(name, 16)])],
        ],
    )


LIGHTX2V = plan_text_to_video(
    "lightx2v_t2v",
    "LightX2V on Wan 2.1, 4 steps",
    "lightx2v-wan2.1",
    "*Contract Sampling* reads the LoRA's name: nothing to set. The official templates run this LoRA with four "
    "samplers, two shifts and always six steps; none of these is its training.\n\n**Fresh noise or Euler?** The files "
    "of 2025 were trained with fresh noise; LightX2V's own program steps by Euler since. Set **alternative** to 1 to "
    "compare.",
    [
        load_model("wan2.1_t2v_14B_fp8_scaled.safetensors", "Wan 2.1 T2V 14B"),
        load_lora("lora", "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors", "model"),
    ],
)

RCM = plan_text_to_video(
    "rcm_t2v",
    "rCM on Wan 2.1, 4 steps",
    "rcm-t2v",
    "The run starts **below** 1, from noise times the first level, and no shift makes these levels. The network was "
    "fed timesteps rounded to bfloat16 (988); core alone would feed 987.654. *Contract Sampling* does both. One to "
    "four steps are trained: set **steps**.",
    [
        load_model("wan2.1_t2v_14B_fp8_scaled.safetensors", "Wan 2.1 T2V 14B"),
        load_lora("lora", "Wan_2_1_T2V_14B_480p_rCM_lora_average_rank_83_bf16.safetensors", "model"),
    ],
)

FASTWAN = Plan(
    "fastwan_5b",
    f"""# FastWan 2.2 on the 5B, 3 steps

{describe("fastwan2.2-5b")}

None of core's named schedulers visits these levels, and core would feed 756.757 where training fed the integer 757. *Contract Sampling* knows the file by its name and does both.

Trained at 1280×704, 121 frames, at 24 frames a second; the first frame from an image was not part of it.""",
    [
        [
            Group("Model and size", [
                load_model("Wan2_2-TI2V-5B-FastWanFullAttn_bf16.safetensors", "FastWan 2.2 5B"),
                load_vae("wan2.2_vae.safetensors", "Wan 2.2 VAE"),
                Box("latent", "Wan22ImageToVideoLatent", "121 frames, as in training", {
                    "width": 1280, "height": 704, "length": 121,
                }, {"vae": "vae"}),
            ]),
        ],
        [Group("Words", [load_umt5(), encode("positive", "Prompt", MOTION)])],
        [Group("Sampling", [follow_contract("model"), *sample(guide(), "latent")])],
        [Group("Video", decode_video("fastwan_5b", 24))],
    ],
)  # fmt: skip

CAUSAL = Plan(
    "self_forcing_ar",
    f"""# Self-Forcing and Causal-Forcing: frame after frame

A causal student samples each block of latent frames to the end and remembers it for the next one. Core has the network and the sampler for it; *Contract Sampling* chooses that sampler with the block length of training.

{describe("causal-forcing-framewise")}

Core takes a file for causal only where its header says so; this one does. **Self-Forcing's own** weights (*self_forcing_dmd*, blocks of 3) have the same levels: save them as safetensors and run **wan-lite stamp FILE --known self-forcing**, which writes that entry and the contract.""",
    [
        [Group("Model", [load_model("causal_forcing-framewise.safetensors", "Causal-Forcing, framewise")])],
        [
            Group("Words and size", [
                load_umt5(), encode("positive", "Prompt", MOTION), empty_video("EmptyARVideoLatent"),
            ]),
        ],
        [Group("Sampling", [follow_contract("model"), *sample(guide(), "latent")])],
        [Group("Video", [load_vae("wan_2.1_vae.safetensors", "Wan 2.1 VAE"), *decode_video("self_forcing_ar", 16)])],
    ],
)  # fmt: skip

QWEN = Plan(
    "qwen_lightning_still",
    f"""# Qwen-Image-Lightning: an image in 4 steps

{describe("qwen-image-lightning-4")}

The shift of training is **3**; core's templates say 3.1, which moves the levels by up to 0.008. Qwen-Image multiplies its timesteps by 1 instead of 1000; *Contract Sampling* keeps that.

The 8-step file is recognised as well: change the name in *Load LoRA*.""",
    [
        [
            Group("Model and size", [
                load_model("qwen_image_fp8_e4m3fn.safetensors", "Qwen-Image"),
                load_lora("lora", "Qwen-Image-Lightning-4steps-V1.0.safetensors", "model", "Lightning LoRA"),
                Box("latent", "EmptySD3LatentImage", "Empty latent", {"width": 1328, "height": 1328}),
            ]),
        ],
        [
            Group("Words", [
                load_qwen_words(),
                encode("positive", "Prompt", PROMPT),
            ]),
        ],
        [Group("Sampling", [follow_contract("lora"), *sample(guide(), "latent", "WanLiteNoise")])],
        [
            Group("Image", [
                load_vae("qwen_image_vae.safetensors", "Qwen-Image VAE"),
                Box("decode", "WanLiteVAEDecode", "Decode", {}, {"samples": "sampler", "vae": "vae"}),
                Box("save", "SaveImage", "Save", {"filename_prefix": "wan-lite/qwen_lightning"}, {"images": "decode"}),
            ]),
        ],
    ],
)  # fmt: skip


def load_experts(kind: str, lora: str) -> list[Group]:
    """Two experts of Wan 2.2, each with its own LoRA."""
    groups = []
    for role in ("high", "low"):
        model = f"wan2.2_{kind}_{role}_noise_14B_fp8_scaled.safetensors"
        boxes = [
            load_expert(role, model, f"Wan 2.2 {kind.upper()}, {role} noise"),
            load_lora(f"{role}_lora", lora.format(role), role, f"Lightning LoRA, {role} noise"),
        ]
        groups.append(Group(f"{role.capitalize()}-noise expert", boxes))
    return groups


def guide_experts(positive: str, negative: str) -> Box:
    """The guider of two experts; boundary and guidance come from the contract."""
    return Box("guider", "WanLiteExpertsGuider", "Two experts", {"cfg_high_noise": 1.0, "cfg_low_noise": 1.0}, {
        "model_high_noise": "contract", "model_low_noise": "low_lora", "positive": positive, "negative": negative,
    })  # fmt: skip


LIGHTNING_T2V = Plan(
    "lightning_t2v_two_experts",
    f"""# Wan2.2-Lightning, text to video: 4 steps, two experts

{describe("wan2.2-lightning-t2v")}

Each expert has its own LoRA, and the change comes after the second step: the contract says where. One solver runs over both experts, so nothing is handed from one sampler to another.

A LoRA on the wrong expert, another strength or guidance above 1 stops the run with a sentence. At guidance 1 the negative prompt is not evaluated; the prompt stands in for it.""",
    [
        load_experts("t2v", "wan2.2_t2v_lightx2v_4steps_lora_v1.1_{}_noise.safetensors"),
        [Group("Words and size", [load_umt5(), encode("positive", "Prompt", MOTION), empty_video()])],
        [Group("Sampling", [follow_contract("high_lora"), *sample(guide_experts("positive", "positive"), "latent")])],
        [
            Group("Video", [
                load_vae("wan_2.1_vae.safetensors", "Wan 2.1 VAE"), *decode_video("lightning_t2v", 16),
            ]),
        ],
    ],
)  # fmt: skip


def condition_on_image(clip_vision: str | None = None) -> Box:
    """The first frame as conditioning, with the latent of the video."""
    more = {"clip_vision_output": clip_vision} if clip_vision else {}
    return Box("image_to_video", "WanImageToVideo", "First frame, 81 frames", dict(VIDEO), {
        "positive": "positive", "negative": "positive", "vae": "vae", "start_image": "image", **more,
    })  # fmt: skip


LIGHTNING_I2V = Plan(
    "lightning_i2v_two_experts",
    f"""# Wan2.2-Lightning, image to video: 4 steps, two experts

{describe("wan2.2-lightning-i2v")}

As text to video, but the first frame is an image, and the experts' boundary is 0.9: at these four steps the change is after the second step all the same.

Choose your own image in *First frame*.""",
    [
        load_experts("i2v", "wan2.2_i2v_lightx2v_4steps_lora_v1_{}_noise.safetensors"),
        [
            Group("Words and image", [
                load_umt5(), encode("positive", "Prompt", MOTION),
                Box("image", "LoadImage", "First frame", {"image": "example.png"}, height=340),
                replace(load_vae("wan_2.1_vae.safetensors", "Wan 2.1 VAE"), folded=True),
            ]),
        ],
        [
            Group("Video and contract", [condition_on_image(), follow_contract("high_lora")]),
        ],
        [
            Group("Sampling", [
                *sample(guide_experts("image_to_video", "image_to_video.1"), "image_to_video.2"),
            ]),
        ],
        [Group("Video", decode_video("lightning_i2v", 16))],
    ],
    width=260,
)  # fmt: skip

LIGHTX2V_I2V = Plan(
    "lightx2v_i2v",
    f"""# LightX2V on Wan 2.1, image to video: 4 steps

{describe("lightx2v-wan2.1")}

This LoRA is in most of the official image-to-video templates, with **euler**, **lcm**, **uni_pc** or **er_sde**, at shift 5 or 8, and always at six steps. Its training has four.

Choose your own image in *First frame*. **alternative** 1 steps by Euler.""",
    [
        [
            Group("Model and LoRA", [
                load_model("wan2.1_i2v_480p_14B_fp16.safetensors", "Wan 2.1 I2V 14B 480p"),
                load_lora("lora", "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", "model"),
                load_vae("wan_2.1_vae.safetensors", "Wan 2.1 VAE"),
            ]),
        ],
        [
            Group("Words and image", [
                load_umt5(), encode("positive", "Prompt", MOTION),
                Box("image", "LoadImage", "First frame", {"image": "example.png"}, height=340),
                Box("clip_vision", "CLIPVisionLoader", "Image encoder", {"clip_name": "clip_vision_h.safetensors"},
                    models={"clip_vision_h.safetensors": MODELS["clip_vision_h.safetensors"]}, folded=True),
                Box("seen", "CLIPVisionEncode", "What is in the image", {"crop": "none"}, {
                    "clip_vision": "clip_vision", "image": "image",
                }, folded=True),
            ]),
        ],
        [
            Group("Video and contract", [condition_on_image("seen"), follow_contract("lora")]),
        ],
        [
            Group("Sampling", [*sample(guide("image_to_video"), "image_to_video.2")]),
        ],
        [Group("Video", decode_video("lightx2v_i2v", 16))],
    ],
    width=260,
)  # fmt: skip

FOUR_STEPS = Plan(
    "student_four_steps",
    """# A student distilled to four steps

The demo's four-step student knows four noise levels and no others. The same seeds twice, in four calls each:

| | levels | timesteps |
|---|---|---|
| **as it was trained** | 1, 0.9375, 0.8333333, 0.625 | 1000, 937.5, 833.333, 625 |
| core's **normal**, 4 steps | 1, 0.9097, 0.7173, 0.0244 | 1000, 909.7, 717.3, 24.4 |

The update is the same in both (*renoise*: fresh noise at each step, core's **lcm**). Only the levels differ: the last call of **normal** is at a level almost free of noise, which this student never saw.

On images as simple as these both get every caption right; with **normal** the bars are drawn a little differently. **demo/README.md** has the figures for 200 captions.

*Contract Sampling* reads the levels from the file; nothing is to be set.""",
    [
        [
            Group("The student", [
                Box("model", "WanLiteStudentLoader", "Student of four steps", {
                    "student_name": f"{DEMO}/student_4step.safetensors", "contract_preset": "flow_unipc-20 shift 5",
                    "on_mismatch": "ignore",  # the second sampler deviates on purpose
                }),
                Box("latent", "WanLiteEmptyLatent", "Eight latents of its own size", {"batch_size": 8}, {"model": "model"}, folded=True),
                Box("text", "WanLiteTextEmbedsLoad", "Prompts", {"name": f"{DEMO}/captions.safetensors"}),
                Box("noise", "WanLiteNoise", "Noise", {"noise_seed": 3}, folded=True),
                Box("vae", "WanLiteVAELoader", "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}, folded=True),
            ]),
        ],
        [
            Group("As it was trained", [
                follow_contract("model"),
                Box("guider", "BasicGuider", "No guidance", {}, {"model": "contract", "conditioning": "text"}, folded=True),
                Box("sampler", "SamplerCustomAdvanced", "Core's sampling", {}, {
                    "noise": "noise", "guider": "guider", "sampler": "contract.1", "sigmas": "contract.2",
                    "latent_image": "latent",
                }),
            ]),
        ],
        [
            Group("Core's normal, sampler lcm", [
                Box("shifted", "ModelSamplingSD3", "Shift 5", {"shift": 5.0}, {"model": "model"}),
                Box("normal", "BasicScheduler", "normal, 4 steps", {"scheduler": "normal", "steps": 4}, {"model": "shifted"}),
                Box("lcm", "KSamplerSelect", "lcm", {"sampler_name": "lcm"}),
                Box("guider_core", "BasicGuider", "No guidance", {}, {"model": "shifted", "conditioning": "text"}, folded=True),
                Box("sampler_core", "SamplerCustomAdvanced", "Core's sampling", {}, {
                    "noise": "noise", "guider": "guider_core", "sampler": "lcm", "sigmas": "normal",
                    "latent_image": "latent",
                }),
            ]),
        ],
        [
            Group("Images", [
                Box("decode", "WanLiteVAEDecode", "Decode", {}, {"samples": "sampler", "vae": "vae"}, folded=True),
                Box("save", "SaveImage", "As it was trained", {"filename_prefix": "wan-lite/four_steps"}, {"images": "decode"}),
                Box("decode_core", "WanLiteVAEDecode", "Decode", {}, {"samples": "sampler_core", "vae": "vae"}, folded=True),
                Box("save_core", "SaveImage", "Core's normal", {"filename_prefix": "wan-lite/four_steps_normal"}, {"images": "decode_core"}),
            ]),
        ],
    ],
)  # fmt: skip

PLANS = (LIGHTNING_T2V, LIGHTX2V, FASTWAN, RCM, CAUSAL, QWEN, LIGHTNING_I2V, LIGHTX2V_I2V, FOUR_STEPS)
