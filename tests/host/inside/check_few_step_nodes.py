"""The nodes of few-step students: a known contract, its schedule alone, its solvers, and a LoRA that brings one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny_models
import torch
from check_contracts import FAMILIES, contract_of, noise, official, same, sample
from heard import Heard

from harness import base, raises, run, submodule

LIGHTX2V = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"
FASTWAN = "FastWan_T2V_14B_480p_lora_rank_64_bf16.safetensors"
LIGHTNING = "wan2.2_t2v_lightx2v_4steps_lora_v1.1_{}_noise.safetensors"


def write_lora(name: str, *, size: int = 128, key: str = "blocks.0.self_attn.q", contract: Any = None) -> str:
    """A LoRA of rank 2 for one matrix of the tiny Wan, where the node lists it."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(sum(name.encode()))
    tensors = {
        f"diffusion_model.{key}.lora_down.weight": torch.randn(2, size, generator=generator),
        f"diffusion_model.{key}.lora_up.weight": torch.randn(size, 2, generator=generator),
    }
    path = base() / "models" / "loras" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    if contract is not None:
        submodule("models.known_students.stamping").stamp_published(path, contract)
    return name


def carried(model: Any) -> Any:
    return model.get_attachment("wan_lite.contract")


def named(model: Any, name: str) -> Any:
    """The model as if it had been loaded from a file of this name."""
    model.cached_patcher_init = (None, (str(Path("/models") / name), {}))
    return model


def check_a_known_contract_and_its_alternative() -> None:
    (first,) = run("WanLiteKnownContract", family="lightx2v-wan2.1")
    (second,) = run("WanLiteKnownContract", family="lightx2v-wan2.1", alternative=1)
    assert (first.solver, second.solver, first.source) == ("renoise", "flow_euler", "recognised")
    assert first.schedule().sigmas.equal(second.schedule().sigmas)
    message = raises(ValueError, run, "WanLiteKnownContract", family="lightx2v-wan2.1", alternative=2)
    assert "alternative is 2; this contract has 1" in message, message
    (high,) = run("WanLiteKnownContract", family="wan2.2-lightning-t2v", role="high")
    assert high.role == "high"
    message = raises(ValueError, run, "WanLiteKnownContract", family="lightx2v")
    assert "lightx2v-wan2.1" in message, message


def check_a_users_own_file() -> None:
    own = base() / "user" / "wan-lite" / "known_students.json"
    own.parent.mkdir(parents=True, exist_ok=True)
    entry = {"id": "mine-2", "title": "My student", "contract": {
        "solver": "renoise", "prediction": "velocity", "steps": 2, "shift": 5.0, "denoising_steps": [1000, 500],
        "timestep_cast": "float",
    }}  # fmt: skip
    try:
        own.write_text(json.dumps({"format": 1, "students": [entry, {"id": "rcm-t2v", "off": True}]}), "utf-8")
        families = submodule("nodes.sampling.known").list_families()
        assert "mine-2" in families and "rcm-t2v" not in families
        (sigmas,) = run("WanLiteFewStepSchedule", family="mine-2")
        assert [round(float(sigma), 4) for sigma in sigmas] == [1.0, 0.8333, 0.0]
        own.write_text("{", "utf-8")
        with Heard() as heard:
            families = submodule("nodes.sampling.known").list_families()
        assert "rcm-t2v" in families and "is not JSON" in heard.lines[0], heard.lines
        message = raises(ValueError, run, "WanLiteKnownContract", family="rcm-t2v")
        assert "known_students.json: is not JSON" in message, message
    finally:
        own.unlink()


def check_contract_sampling_takes_the_alternative_of_a_name() -> None:
    model = named(tiny_models.wan(seed=1), LIGHTX2V)
    for number, solver in ((0, "renoise"), (1, "flow_euler")):
        patched, _, _ = run("WanLiteContractSampling", model=model, alternative=number)
        assert carried(patched).solver == solver
    message = raises(ValueError, run, "WanLiteContractSampling", model=model, alternative=3)
    assert "alternative is 3" in message, message


def check_the_schedules_are_those_of_the_contracts() -> None:
    for family in ("lightx2v-wan2.1", "rcm-t2v", "fastwan2.2-5b", "accvideo"):
        (sigmas,) = run("WanLiteFewStepSchedule", family=family, on_mismatch="ignore")
        expected = submodule("nodes.host.model_sampling").to_sigmas(contract_of(family).schedule())
        assert torch.equal(sigmas, expected), family
    (sigmas,) = run("WanLiteFewStepSchedule", denoising_steps="[1000, 757, 522]", shift=8.0, warp=False)
    assert [round(float(sigma), 6) for sigma in sigmas] == [1.0, 0.756757, 0.521739, 0.0]
    for wrong in ("", "1000, x", "500, 750", "1001", "1000 1000", "1e3"):
        message = raises(ValueError, run, "WanLiteFewStepSchedule", denoising_steps=wrong)
        assert message.startswith("denoising_steps is "), message


def check_the_schedule_warns_unless_the_model_is_fed_what_training_fed() -> None:
    model = tiny_models.wan(seed=1)
    for family, fits in (("lightx2v-wan2.1", True), ("fastwan2.1", False), ("rcm-t2v", False)):
        patched, _, expected = run("WanLiteContractSampling", model=model, contract=contract_of(family))
        for given, quiet in ((None, fits), (model, fits), (patched, True)):
            with Heard() as heard:
                (sigmas,) = run("WanLiteFewStepSchedule", family=family, model=given)
            assert torch.equal(sigmas, expected)
            assert quiet == (not heard.lines), (family, heard.lines)
            assert quiet or "WanLiteContractSampling" in heard.lines[0], heard.lines
    message = raises(ValueError, run, "WanLiteFewStepSchedule", family="fastwan2.1", on_mismatch="error")
    assert "[1000, 757, 522]" in message and "756.757" in message, message


def check_the_solvers_are_the_official_updates() -> None:
    model, text, start = tiny_models.wan(seed=1), tiny_models.text(seed=3), noise()
    network = model.model.diffusion_model
    for solver, family, name in (
        ("WanLiteSolverFlowEuler", "wan2.2-lightning-t2v", "wan22_lightning_4"),
        ("WanLiteSolverRenoise", "lightx2v-wan2.1", "lightx2v_wan21_4_lcm_2025_07"),
    ):
        # the MODEL knows the whole schedule, so that fresh noise belongs to the step and not to its level
        patched, _, _ = run("WanLiteContractSampling", model=model, contract=contract_of(family))
        (guider,) = run("BasicGuider", model=patched, conditioning=text)
        (sigmas,) = run("WanLiteFewStepSchedule", family=family, model=patched)
        (sampler,) = run(solver)
        found = sample(guider, sampler, sigmas, start)
        with torch.inference_mode():
            expected = official([network] * 4, FAMILIES[name], start, text)
        same(found, model.model.latent_format.process_out(expected), solver)


def check_renoise_takes_a_seed_of_its_own() -> None:
    model, text, start = tiny_models.wan(seed=1), tiny_models.text(seed=3), noise()
    (guider,) = run("BasicGuider", model=model, conditioning=text)
    (sigmas,) = run("WanLiteFewStepSchedule")
    images = [sample(guider, run("WanLiteSolverRenoise", seed=seed)[0], sigmas, start) for seed in (0, 5, 5, 6)]
    assert torch.equal(images[1], images[2])
    assert not torch.equal(images[0], images[1]) and not torch.equal(images[1], images[3])


def check_a_lora_brings_its_contract() -> None:
    model = tiny_models.wan(seed=1)
    (patched,) = run("WanLiteLoadLoRA", model=model, lora_name=write_lora(LIGHTX2V))
    assert carried(patched).solver == "renoise" and carried(model) is None
    core = run("LoraLoaderModelOnly", model=model, lora_name=LIGHTX2V, strength_model=1.0)[0]
    assert {key: len(value) for key, value in patched.patches.items()} == {
        key: len(value) for key, value in core.patches.items()
    }
    _, _, sigmas = run("WanLiteContractSampling", model=patched)
    assert torch.equal(sigmas, run("WanLiteFewStepSchedule", family="lightx2v-wan2.1")[0])
    (none,) = run("WanLiteLoadLoRA", model=model, lora_name=LIGHTX2V, strength=0.0)
    assert carried(none) is None and not none.patches


def check_a_header_goes_before_a_name() -> None:
    name = write_lora("renamed_" + LIGHTX2V, contract=contract_of("fastwan2.1"))
    (patched,) = run("WanLiteLoadLoRA", model=tiny_models.wan(seed=1), lora_name=name)
    assert (carried(patched).source, carried(patched).denoising_steps) == ("declared", (1000, 757, 522))


def check_a_lora_of_style_leaves_the_contract() -> None:
    (first,) = run("WanLiteLoadLoRA", model=tiny_models.wan(seed=1), lora_name=write_lora(LIGHTX2V))
    (second,) = run("WanLiteLoadLoRA", model=first, lora_name=write_lora("watercolour.safetensors"), strength=0.7)
    assert carried(second).solver == "renoise"


def check_two_contracts_on_one_model_are_refused() -> None:
    (first,) = run("WanLiteLoadLoRA", model=tiny_models.wan(seed=1), lora_name=write_lora(LIGHTX2V))
    name = write_lora(FASTWAN)
    message = raises(ValueError, run, "WanLiteLoadLoRA", model=first, lora_name=name)
    assert name in message and "[1000, 937.5, 833.333, 625]" in message and "[1000, 757, 522]" in message, message
    with Heard() as heard:
        run("WanLiteLoadLoRA", model=first, lora_name=name, on_mismatch="warn")
    assert any(name in line for line in heard.lines), heard.lines
    run("WanLiteLoadLoRA", model=first, lora_name=write_lora(LIGHTX2V))
    student = named(tiny_models.wan(seed=1), "FastWan2.1-T2V-14B-480P_bf16.safetensors")
    message = raises(ValueError, run, "WanLiteLoadLoRA", model=student, lora_name=write_lora(LIGHTX2V))
    assert LIGHTX2V in message and "[1000, 757, 522]" in message, message


def check_a_lora_of_another_architecture_is_refused() -> None:
    model = tiny_models.wan(seed=1)
    elsewhere = write_lora("flux_style.safetensors", key="double_blocks.0.img_attn.qkv")
    message = raises(ValueError, run, "WanLiteLoadLoRA", model=model, lora_name=elsewhere)
    assert message.startswith("flux_style.safetensors: none of its 1 fit this network (WanModel)"), message
    larger = write_lora("wan_14b_style.safetensors", size=256)
    message = raises(ValueError, run, "WanLiteLoadLoRA", model=model, lora_name=larger)
    assert "256x256" in message and "128x128" in message, message


def check_experts_in_each_others_place_are_refused() -> None:
    low = named(tiny_models.wan(seed=1), "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors")
    name = write_lora(LIGHTNING.format("high"))
    message = raises(ValueError, run, "WanLiteLoadLoRA", model=low, lora_name=name)
    assert f"{name}: is of the high-noise expert" in message and "swapped" in message, message
    (first,) = run("WanLiteLoadLoRA", model=tiny_models.wan(seed=1), lora_name=name)
    other = write_lora(LIGHTNING.format("low"))
    message = raises(ValueError, run, "WanLiteLoadLoRA", model=first, lora_name=other)
    assert "low-noise" in message and "high-noise" in message, message


def check_another_strength_is_refused_with_both() -> None:
    name = write_lora(LIGHTX2V)
    message = raises(ValueError, run, "WanLiteLoadLoRA", model=tiny_models.wan(seed=1), lora_name=name, strength=0.5)
    assert "strength 1" in message and "0.5" in message, message
    run("WanLiteLoadLoRA", model=tiny_models.wan(seed=1), lora_name=name, strength=0.5, on_mismatch="warn")


def check_an_ambiguous_name_is_never_a_guess() -> None:
    name = write_lora("causal_forcing.safetensors")
    (patched,) = run("WanLiteLoadLoRA", model=tiny_models.wan(seed=1), lora_name=name)
    assert carried(patched) is None
    prompt = {
        "1": {"class_type": "WanLiteLoadLoRA", "inputs": {"model": ["0", 0], "lora_name": name, "strength": 1.0}},
        "2": {"class_type": "WanLiteContractSampling", "inputs": {"model": ["1", 0]}},
    }
    hidden = {"prompt": prompt, "unique_id": "2"}
    message = raises(ValueError, run, "WanLiteContractSampling", hidden=hidden, model=patched)
    assert "causal-forcing-framewise" in message and "WanLiteKnownContract" in message, message


def check_the_probe_compares_both_level_lists() -> None:
    model, seen = tiny_models.wan22(seed=1), []
    model.model.diffusion_model.register_forward_pre_hook(lambda module, args: seen.append(round(float(args[1][0]), 3)))
    inputs = {"model": model, "positive": tiny_models.text(seed=3), "vae": Echo(), "pictures": 1, "cell": 32}
    inputs["latent"] = {"samples": torch.zeros(1, 48, 1, 4, 4)}
    found = run("WanLiteSamplingProbe", candidates="wan2.2-ti2v-5b-turbo", max_calls=14, **inputs)
    both = [1000.0, 937.5, 833.333, 625.0], [1000.0, 750.0, 500.0, 250.0]
    assert len(seen) == 14 and seen[:4] == both[0] and seen[7:11] == both[1], seen
    assert "wan2.2-ti2v-5b-turbo, alternative 1" in found[2] and found[3].has_fixed_sigmas
    message = raises(ValueError, run, "WanLiteSamplingProbe", candidates="rcm-t2v", max_calls=3, **inputs)
    assert "max_calls is 3" in message, message


class Echo:
    """A VAE that shows the first three channels."""

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        return samples[:, :3, 0].movedim(1, -1).clamp(0, 1)
