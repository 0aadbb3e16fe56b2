"""The guard of a MODEL with a contract, in core's own sampler nodes, which know nothing of contracts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tiny_models
import torch
from heard import Heard
from students import load, text

from harness import raises, run, submodule

NAME = "student_4ch"
FLOW, DDIM = "flow_unipc-20 shift 5", "ddim-20 run_inference"
LEVELS = (1000, 750, 500, 250)


def load_declared(preset: str, **options: Any) -> Any:
    """A student whose contract counts."""
    model = load(NAME, preset, **options)
    declared = replace(model.get_attachment("wan_lite.contract"), source="declared")
    model.set_attachments("wan_lite.contract", declared)
    return model


def ksample(model: Any, size: int = 32, **changes: Any) -> tuple[torch.Tensor, list[str]]:
    """Core's KSampler as people set it up; returns the latent and what was logged as a warning."""
    (latent,) = run("WanLiteEmptyLatent", model=model, width=size, height=size)
    words = text(NAME)
    settings = {
        "seed": 3, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
    } | changes  # fmt: skip
    given = {"positive": words, "negative": words, "latent_image": latent} | settings
    with Heard() as heard:
        (out,) = run("KSampler", model=model, **given)
    return out["samples"], heard.lines


def few_step_model(**changes: Any) -> Any:
    """Core's Wan with a contract as a few-step LoRA brings it: nothing else of the MODEL is changed."""
    contract = submodule("samplers.contract").SamplingContract(
        "flow_euler", "velocity", shift=5.0, denoising_steps=LEVELS, timestep_cast="float", source="declared"
    )
    model = tiny_models.wan()
    submodule("nodes.host.guard.guard").attach_contract(model, replace(contract, **changes))
    return model


def ksample_wan(model: Any, node_id: str = "KSampler", **changes: Any) -> tuple[torch.Tensor, list[str]]:
    words = tiny_models.text(width=32)
    (latent,) = run("EmptyHunyuanLatentVideo", width=32, height=32, length=1, batch_size=1)
    settings = {
        "positive": words, "negative": words, "latent_image": latent, "seed": 3, "steps": 4, "cfg": 1.0,
        "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
    } | changes  # fmt: skip
    if node_id == "KSamplerAdvanced":
        settings["noise_seed"] = settings.pop("seed")
        del settings["denoise"]
    with Heard() as heard:
        (out,) = run(node_id, model=model, **settings)
    return out["samples"], heard.lines


def shift_of(model: Any, shift: float) -> Any:
    return run("ModelSamplingSD3", model=model, shift=shift)[0]


def check_an_output_read_as_another_prediction_is_an_error() -> None:
    message = raises(ValueError, ksample, shift_of(load_declared(DDIM), 5.0))
    assert "prediction: the checkpoint's contract says epsilon, but velocity was asked for" in message, message
    assert "Wan Lite Contract Sampling" in message, message
    for kind in ("eps", "v_prediction", "x0"):
        (patched,) = run("ModelSamplingDiscrete", model=load_declared(FLOW), sampling=kind, zsnr=False)
        assert "prediction: " in raises(ValueError, ksample, patched)
    (patched,) = run("ModelSamplingDiscrete", model=load_declared(DDIM), sampling="v_prediction", zsnr=False)
    assert "prediction: " in raises(ValueError, ksample, patched)


def check_another_table_of_timesteps_is_told_with_both_lists() -> None:
    (patched,) = run("ModelSamplingDiscrete", model=load_declared(DDIM), sampling="eps", zsnr=False)
    _, lines = ksample(patched)
    assert [line for line in lines if "timesteps: " in line], lines


def check_another_shift_is_a_warning_with_both_lists_of_timesteps() -> None:
    out, lines = ksample(shift_of(load_declared(FLOW), 40.0))
    assert torch.isfinite(out).all()
    (line,) = [line for line in lines if "shift: the checkpoint's contract says 5.0, but 40.0 was asked for" in line]
    assert "trained [999, 989, ..., 208] (20)" in line and "here [1000, " in line, line


def check_what_fits_is_sampled_in_silence() -> None:
    assert ksample(load_declared(DDIM), sampler_name="ddim")[1] == [], "core's ddim is the DDIM of the contract"
    assert ksample_wan(shift_of(few_step_model(), 5.0))[1] == [], "core's simple with 4 steps and shift 5 is exact"


def check_guidance_size_and_solver_are_warnings() -> None:
    model = load_declared(FLOW)
    for changes, part in (
        ({"cfg": 7.0}, "cfg: the checkpoint's contract says 1.0, but 7.0"),
        ({"size": 64}, "latent: the checkpoint's contract says 4x4x4, but 4x8x8"),
        ({"sampler_name": "uni_pc"}, "solver: the checkpoint's contract says flow_unipc, but core's uni_pc"),
    ):
        out, lines = ksample(model, **changes)
        assert torch.isfinite(out).all() and [line for line in lines if part in line], lines


def check_the_loaders_setting_turns_it_off() -> None:
    for on_mismatch, warnings in (("warn", 1), ("ignore", 0)):
        model = shift_of(load_declared(DDIM, on_mismatch=on_mismatch), 5.0)
        out, lines = ksample(model)
        assert torch.isfinite(out).all()
        assert len([line for line in lines if "prediction: " in line]) == warnings, lines


def check_what_was_only_assumed_is_never_an_error() -> None:
    _, lines = ksample(shift_of(load(NAME, DDIM), 5.0))
    assert [line for line in lines if "only assumed" in line and "prediction velocity instead of epsilon" in line], (
        lines
    )


def check_a_warning_is_shown_on_the_node() -> None:
    progress = submodule("nodes.host.checks")
    shown: list[str] = []
    original, progress.show_sentence = progress.show_sentence, shown.append
    try:
        ksample(load_declared(FLOW), cfg=7.0)
    finally:
        progress.show_sentence = original
    (sentence,) = shown
    assert "cfg: the checkpoint's contract says 1.0" in sentence and "Timesteps: trained [" in sentence, sentence


def check_our_own_nodes_say_it_once() -> None:
    model = load_declared(FLOW)
    (latent,) = run("WanLiteEmptyLatent", model=model)
    given = {"model": model, "positive": text(NAME), "latent_image": latent, "steps": 2, "shift": 3.0}
    with Heard() as heard:
        run("WanLiteFlowUniPCSampler", **given, on_mismatch="warn")
    assert len([line for line in heard.lines if "shift: " in line]) == 1, heard.lines


def check_a_solver_of_ours_brings_its_own_setting() -> None:
    """Contract sampling with guidance that training had not: an error, a warning, or nothing."""
    for on_mismatch in ("error", "warn", "ignore"):
        model, sampler, sigmas = run("WanLiteContractSampling", model=load_declared(FLOW), on_mismatch=on_mismatch)
        (latent,) = run("WanLiteEmptyLatent", model=model)
        (guider,) = run("CFGGuider", model=model, positive=text(NAME), negative=text(NAME), cfg=7.0)
        (noise,) = run("RandomNoise", noise_seed=1)
        given = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent}
        with Heard() as heard:
            if on_mismatch == "error":
                assert "cfg: " in raises(ValueError, run, "SamplerCustomAdvanced", **given)
            else:
                run("SamplerCustomAdvanced", **given)
        assert len([line for line in heard.lines if "cfg: " in line]) == (on_mismatch == "warn"), heard.lines


def check_few_step_contracts_on_cores_own_wan() -> None:
    model = shift_of(few_step_model(), 5.0)
    for changes, part in (
        ({"steps": 6}, "distilled to 4 steps at timesteps [1000, 937.5, 833.3, 625]"),
        ({"scheduler": "normal"}, "but the SIGMAS visit"),
        ({"sampler_name": "lcm"}, "solver: the checkpoint's contract says flow_euler, but renoise"),
        ({"cfg": 6.0}, "cfg: the checkpoint's contract says 1.0, but 6.0"),
        ({"denoise": 0.5, "steps": 2}, "The latent is empty, but the run starts at timestep 833.3 instead of 1000"),
    ):
        out, lines = ksample_wan(model, **changes)
        assert torch.isfinite(out).all() and [line for line in lines if part in line], (part, lines)
    _, lines = ksample_wan(few_step_model())
    assert [line for line in lines if "but the SIGMAS visit" in line], "core's own shift of Wan is 8"


def check_what_is_fed_is_compared_at_the_levels_of_training() -> None:
    table = (1000.0, 937.0, 833.0, 625.0)
    _, lines = ksample_wan(shift_of(few_step_model(timestep_cast="table", timesteps=table), 5.0))
    (line,) = [line for line in lines if "timesteps: " in line]
    assert "[1000, 937, 833, 625]" in line and "[1000, 937.5, 833.333, 625]" in line, line


def check_the_strength_of_a_lora() -> None:
    model = shift_of(few_step_model(lora_strength=1.0), 5.0)
    key = "diffusion_model.blocks.0.self_attn.q.weight"
    adapter = submodule_of_comfy("comfy.weight_adapter").LoRAAdapter(
        set(), (torch.zeros(128, 2), torch.zeros(2, 128), None, None, None, None)
    )
    for strength, told in ((1.0, 0), (3.0, 1)):
        patched = model.clone()
        patched.add_patches({key: adapter}, strength)
        _, lines = ksample_wan(patched)
        assert len([line for line in lines if "lora_strength: " in line and "3.0" in line]) == told, lines


def submodule_of_comfy(name: str) -> Any:
    import importlib

    return importlib.import_module(name)


def check_an_expert_at_the_other_ones_steps() -> None:
    model = shift_of(few_step_model(boundary=0.875, role="high"), 5.0)
    _, lines = ksample_wan(model)
    assert [line for line in lines if "high-noise expert, but it is asked at timesteps [833.333, 625]" in line], lines
    stage = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 2, "return_with_leftover_noise": "enable"}
    assert ksample_wan(model, "KSamplerAdvanced", **stage)[1] == []


def check_two_stages_of_fresh_noise_from_one_seed() -> None:
    model = shift_of(few_step_model(solver="renoise"), 5.0)
    first = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 2, "return_with_leftover_noise": "enable"}
    second = {"add_noise": "disable", "start_at_step": 2, "end_at_step": 4, "return_with_leftover_noise": "disable"}
    noisy, lines = ksample_wan(model, "KSamplerAdvanced", sampler_name="lcm", **first)
    assert lines == []
    for seed, told in ((3, 1), (4, 0)):
        given = {"latent_image": {"samples": noisy}, "seed": seed, "sampler_name": "lcm"}
        _, lines = ksample_wan(model, "KSamplerAdvanced", **given, **second)
        assert len([line for line in lines if "fresh noise from seed 3" in line]) == told, lines


def check_the_probe_is_left_alone() -> None:
    model = load_declared(FLOW)
    (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors")
    with Heard() as heard:
        run("WanLiteSamplingProbe", model=model, positive=text(NAME), vae=vae)
    assert not [line for line in heard.lines if "contract says" in line], heard.lines
