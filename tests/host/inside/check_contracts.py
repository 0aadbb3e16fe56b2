"""Contracts of few-step students on core's own tiny Wan models, against the official loops around the same networks."""

from __future__ import annotations

import json

import comfy.supported_models
import tiny_models
import torch
from check_solvers import FixedNoise

from harness import Absent, raises, run, submodule, vectors

FAMILIES = json.loads((vectors() / "few_step" / "students.json").read_text("utf-8"))["families"]
SINGLE = [
    ("lightx2v-wan2.1", "lightx2v_wan21_4_lcm_2025_07", tiny_models.wan),
    ("causvid-bidirectional", "causvid_3", tiny_models.wan),
    ("fastwan2.1", "fastwan_dmd_3", tiny_models.wan),
    ("fastwan2.2-5b", "fastwan_dmd_3", tiny_models.wan22),
    ("wan2.2-ti2v-5b-turbo", "wan22_ti2v_5b_turbo_training", tiny_models.wan22),
    ("rcm-t2v", "rcm_t2v_4", tiny_models.wan),
    ("lightx2v-wan2.2-t2v", "lightx2v_wan22_4", tiny_models.wan),
]
"""Known students of one network, the record of the official loop's levels and timesteps, and the network."""


def noise(frames: int = 2, batch: int = 1, channels: int = 16) -> torch.Tensor:
    return torch.randn(batch, channels, frames, 8, 6, generator=torch.Generator().manual_seed(5))


def contract_of(student: str):
    return submodule("models.known_students").load_known_students().students[student].contract()


def official(networks, family: dict, start: torch.Tensor, text) -> torch.Tensor:
    """The original's update, written out; ``networks`` has one for each step."""
    step_noise = submodule("samplers.noise").step_noise
    sigmas, fed = family["sigmas"], family.get("fed_bf16") or family["fed"]
    x = start * sigmas[0]
    for i, (network, timestep) in enumerate(zip(networks, fed, strict=True)):
        v = network(x, torch.full((x.shape[0],), timestep), context=text[0][0].expand(x.shape[0], -1, -1))
        x0 = x - sigmas[i] * v
        if family["update"] == "euler":
            x = x + (sigmas[i + 1] - sigmas[i]) * v
        else:
            x = x0 if sigmas[i + 1] == 0 else (1 - sigmas[i + 1]) * x0 + sigmas[i + 1] * step_noise(x0, 0, i)
    return x


def sample(guider, sampler, sigmas, start: torch.Tensor) -> torch.Tensor:
    latent = {"samples": torch.zeros_like(start)}
    outputs = run(
        "SamplerCustomAdvanced", noise=FixedNoise(start), guider=guider, sampler=sampler, sigmas=sigmas,
        latent_image=latent,
    )  # fmt: skip
    return outputs[0]["samples"]


def same(found: torch.Tensor, expected: torch.Tensor, what: str, relative: float = 1e-5) -> None:
    error = float((found - expected).abs().max()) / float(expected.abs().max())
    assert error <= relative, f"{what}: {error}"


def watch(model) -> list[float]:
    seen: list[float] = []
    model.model.diffusion_model.register_forward_pre_hook(
        lambda module, args: seen.append(float(args[1].reshape(-1)[0]))
    )
    return seen


def check_each_family_is_the_official_loop() -> None:
    for student, name, make in SINGLE:
        for batch in (1, 2):
            model, text = make(seed=1), tiny_models.text(seed=3)
            start = noise(batch=batch, channels=model.model.latent_format.latent_channels)
            patched, sampler, sigmas = run("WanLiteContractSampling", model=model, contract=contract_of(student))
            seen = watch(model)
            (guider,) = run("BasicGuider", model=patched, conditioning=text)
            found = sample(guider, sampler, sigmas, start)
            fed = FAMILIES[name].get("fed_bf16") or FAMILIES[name]["fed"]
            assert seen == [torch.tensor(timestep).item() for timestep in fed], f"{student}: {seen}"
            network = model.model.diffusion_model
            with torch.inference_mode():
                expected = official([network] * len(fed), FAMILIES[name], start, text)
            same(found, model.model.latent_format.process_out(expected), f"{student}, batch {batch}")


def check_two_experts_take_boundary_guidance_and_timesteps_from_the_contract() -> None:
    high, low, text = tiny_models.wan(seed=1), tiny_models.wan(seed=2), tiny_models.text(seed=3)
    contract, start = contract_of("wan2.2-lightning-t2v"), noise()
    patched, sampler, sigmas = run("WanLiteContractSampling", model=high, contract=contract)
    (guider,) = run("WanLiteExpertsGuider", model_high_noise=patched, model_low_noise=low, positive=text, negative=text)
    seen = watch(high), watch(low)
    found = sample(guider, sampler, sigmas, start)
    assert seen[0] == [1000.0, 937.5] and [round(timestep, 4) for timestep in seen[1]] == [833.3333, 625.0], seen
    networks = [high.model.diffusion_model] * 2 + [low.model.diffusion_model] * 2
    with torch.inference_mode():
        expected = official(networks, FAMILIES["wan22_lightning_4"], start, text)
    same(found, high.model.latent_format.process_out(expected), "two experts")


def check_a_causal_student_runs_in_cores_own_sampler() -> None:
    if not hasattr(comfy.supported_models, "WAN21_CausalAR_T2V"):
        raise Absent("this ComfyUI has no autoregressive Wan yet")
    model, text, start = tiny_models.causal_wan(seed=1), tiny_models.text(seed=3), noise(frames=6)
    patched, sampler, sigmas = run("WanLiteContractSampling", model=model, contract=contract_of("self-forcing"))
    (guider,) = run("BasicGuider", model=patched, conditioning=text)
    seen = watch(model)
    ours = sample(guider, sampler, sigmas, start)
    levels = FAMILIES["self_forcing_dmd_4"]["fed"]
    assert [round(timestep, 3) for timestep in seen] == [*(round(level, 3) for level in levels), 0.0] * 2, seen
    (core_sampler,) = run("SamplerARVideo", num_frame_per_block=3)
    (core_sigmas,) = run("BasicScheduler", model=model, scheduler="simple", steps=4, denoise=1.0)
    (core_guider,) = run("BasicGuider", model=model, conditioning=text)
    same(ours, sample(core_guider, core_sampler, core_sigmas, start), "core's autoregressive sampler")


def check_core_agrees_where_its_own_recipe_is_exact() -> None:
    model, text, start = tiny_models.wan(seed=1), tiny_models.text(seed=3), noise()
    patched, sampler, sigmas = run("WanLiteContractSampling", model=model, contract=contract_of("wan2.2-lightning-t2v"))
    (guider,) = run("BasicGuider", model=patched, conditioning=text)
    ours = sample(guider, sampler, sigmas, start)
    (shifted,) = run("ModelSamplingSD3", model=model, shift=5.0)
    (core_sigmas,) = run("BasicScheduler", model=shifted, scheduler="simple", steps=4, denoise=1.0)
    (core_sampler,) = run("KSamplerSelect", sampler_name="euler")
    (core_guider,) = run("BasicGuider", model=shifted, conditioning=text)
    assert torch.equal(core_sigmas, sigmas)
    same(ours, sample(core_guider, core_sampler, core_sigmas, start), "core's euler")


def check_a_run_cut_in_two_is_the_uncut_one() -> None:
    model, text, start = tiny_models.wan(seed=1), tiny_models.text(seed=3), noise()
    contract = contract_of("lightx2v-wan2.1")
    patched, sampler, sigmas = run("WanLiteContractSampling", model=model, contract=contract, on_mismatch="ignore")
    (guider,) = run("BasicGuider", model=patched, conditioning=text)
    whole = sample(guider, sampler, sigmas, start)
    first = sample(guider, sampler, sigmas[:3], start)
    (no_noise,) = run("DisableNoise")
    outputs = run(
        "SamplerCustomAdvanced", noise=no_noise, guider=guider, sampler=sampler, sigmas=sigmas[2:],
        latent_image={"samples": first},
    )  # fmt: skip
    same(outputs[0]["samples"], whole, "cut in two")


def check_the_contract_is_found_by_the_names_of_the_files() -> None:
    model = tiny_models.wan(seed=1)
    prompt = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors"}},
        "2": {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {
                "model": ["1", 0],
                "lora_name": "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
                "strength_model": 1.0,
            },
        },
        "3": {"class_type": "WanLiteContractSampling", "inputs": {"model": ["2", 0]}},
    }
    hidden = {"prompt": prompt, "unique_id": "3"}
    patched, _, sigmas = run("WanLiteContractSampling", hidden=hidden, model=model)
    assert [round(float(sigma), 4) for sigma in sigmas] == [1.0, 0.9375, 0.8333, 0.625, 0.0]
    contract = patched.get_attachment("wan_lite.contract")
    assert (contract.source, contract.role) == ("recognised", "high")
    prompt["2"]["inputs"]["strength_model"] = 0.0
    message = raises(ValueError, run, "WanLiteContractSampling", hidden=hidden, model=model)
    assert "names of its files say nothing" in message, message
    prompt["2"]["inputs"] |= {"strength_model": 1.0, "lora_name": "causal_forcing.safetensors"}
    message = raises(ValueError, run, "WanLiteContractSampling", hidden=hidden, model=model)
    assert "several that differ" in message, message


def check_the_contract_is_found_in_the_header_of_a_lora_and_by_the_checkpoints_path() -> None:
    key = submodule("samplers.contract").CONTRACT_KEY
    model = tiny_models.wan(seed=1)
    model.set_attachments("lora_metadata", {"format": "pt", key: contract_of("rcm-t2v").to_json()})
    patched, _, _ = run("WanLiteContractSampling", model=model)
    assert patched.get_attachment("wan_lite.contract").sigma_max == 80.0
    assert patched.get_attachment("wan_lite.contract").source == "declared"
    model = tiny_models.wan(seed=1)
    model.cached_patcher_init = (None, ("/models/rCM_Wan2.1_T2V_14B_720p.pt", {}))
    patched, _, _ = run("WanLiteContractSampling", model=model)
    assert patched.get_attachment("wan_lite.contract").sigma_max == 120.0


def check_swapped_experts_are_an_error() -> None:
    high, low, text = tiny_models.wan(seed=1), tiny_models.wan(seed=2), tiny_models.text(seed=3)
    known = submodule("models.known_students").load_known_students().students["wan2.2-lightning-t2v"]
    models = [
        run("WanLiteContractSampling", model=model, contract=known.contract(role))[0]
        for model, role in ((high, "low"), (low, "high"))
    ]
    message = raises(
        ValueError, run, "WanLiteExpertsGuider", model_high_noise=models[0], model_low_noise=models[1], positive=text,
        negative=text,
    )  # fmt: skip
    assert "high" in message and "low" in message, message
