"""The teacher's two experts: one solver run across two of core's own Wan models, as the official loop does it."""

from __future__ import annotations

import comfy.model_management
import tiny_models
import torch
from check_solvers import FixedNoise

from harness import raises, run, submodule

STEPS, SHIFT, BOUNDARY = 40, 12.0, 0.875


def sample_frames(
    guider, noise: torch.Tensor, sigmas: torch.Tensor, *, latent=None, mask=None, solver="WanLiteSolverFlowUniPC"
):
    """Through SamplerCustomAdvanced; returns the LATENT as the host's latent format leaves it."""
    given = {"samples": torch.zeros_like(noise) if latent is None else latent}
    if mask is not None:
        given["noise_mask"] = mask
    (sampler,) = run(solver)
    outputs = run(
        "SamplerCustomAdvanced",
        noise=FixedNoise(noise),
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=given,
    )
    return outputs[0]["samples"]


def experts(high, low, positive, negative, **inputs):
    (guider,) = run(
        "WanLiteExpertsGuider",
        model_high_noise=high,
        model_low_noise=low,
        positive=positive,
        negative=negative,
        **inputs,
    )
    return guider


def official_loop(high, low, positive, negative, noise: torch.Tensor, steps: int, shift: float) -> torch.Tensor:
    """The rules of Wan's text2video, written out: network and guidance from the truncated timestep, one scheduler."""
    unipc = submodule("samplers.solvers.unipc").FlowUniPC()
    schedule = submodule("samplers.schedule").flow_schedule(steps, shift=shift)
    state, x = unipc.init(schedule), noise
    for i in range(steps):
        t = schedule.timesteps[i]
        expert, guide = (high, 4.0) if t >= BOUNDARY * 1000 else (low, 3.0)
        network, sigma = expert.model.diffusion_model, schedule.sigma_values[i]

        def denoise(x: torch.Tensor, _: float, network=network, guide=guide, t=t, sigma=sigma) -> torch.Tensor:
            timestep = t.float().expand(x.shape[0])
            cond = network(x, timestep, context=positive[0][0].expand(x.shape[0], -1, -1))
            uncond = network(x, timestep, context=negative[0][0].expand(x.shape[0], -1, -1))
            return x - sigma * (uncond + guide * (cond - uncond))

        x, _, state = unipc.step(denoise, x, i, schedule, state)
    return high.model.latent_format.process_out(x)


def pair():
    return tiny_models.wan(seed=1), tiny_models.wan(seed=2), tiny_models.text(seed=3), tiny_models.text(seed=4)


def check_trajectory_is_the_official_loop() -> None:
    """Relative to the largest value, about 15: the host computes x0 in float32, whose spacing there is 9.5e-7.

    At most 8.6e-6 apart after 40 steps, 6e-7 relative. tests/parity/test_samplers.py has the rules in float64.
    """
    high, low, positive, negative = pair()
    for batch, frames in ((1, 1), (2, 1), (1, 3)):
        noise = torch.randn(batch, 16, frames, 8, 6, generator=torch.Generator().manual_seed(5))
        (sigmas,) = run("WanLiteFlowSchedule", steps=STEPS, shift=SHIFT)
        found = sample_frames(experts(high, low, positive, negative), noise, sigmas)
        with torch.inference_mode():
            expected = official_loop(high, low, positive, negative, noise, STEPS, SHIFT)
        error = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
        assert error <= 1e-6, f"batch {batch}, {frames} latent frames: {error}"


def check_each_expert_is_loaded_once_and_asked_on_its_side() -> None:
    high, low, positive, negative = pair()
    guider = experts(high, low, positive, negative)
    noise = torch.randn(1, 16, 1, 8, 6, generator=torch.Generator().manual_seed(5))
    (sigmas,) = run("WanLiteFlowSchedule", steps=STEPS, shift=SHIFT)
    seen: dict[str, list[float]] = {"high": [], "low": []}
    for name, model in (("high", high), ("low", low)):
        network = model.model.diffusion_model
        network.register_forward_pre_hook(lambda module, args, name=name: seen[name].append(float(args[1][0])))
    loads = []
    original = comfy.model_management.load_models_gpu
    comfy.model_management.load_models_gpu = lambda models, *a, **k: (
        loads.append(models[0].model),
        original(models, *a, **k),
    )
    try:
        sample_frames(guider, noise, sigmas)
    finally:
        comfy.model_management.load_models_gpu = original
    assert loads == [high.model, low.model]
    assert min(seen["high"]) >= 875 > max(seen["low"])
    timesteps = submodule("samplers.schedule").flow_schedule(STEPS, shift=SHIFT).timesteps.tolist()
    assert sorted(set(seen["high"] + seen["low"]), reverse=True) == sorted(set(map(float, timesteps)), reverse=True)


def check_a_run_below_the_boundary_never_loads_the_high_expert() -> None:
    high, low, positive, negative = pair()
    high.model.diffusion_model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(AssertionError("asked")))
    (sigmas,) = run("WanLiteFlowSchedule", steps=6, shift=SHIFT, denoise=0.3)
    assert float(sigmas[0]) < BOUNDARY
    noise, picture = torch.randn(2, 1, 16, 1, 8, 6, generator=torch.Generator().manual_seed(5)).unbind()
    assert torch.isfinite(sample_frames(experts(high, low, positive, negative), noise, sigmas, latent=picture)).all()


def check_inpainting_across_the_boundary() -> None:
    high, low, positive, negative = pair()
    noise, picture = torch.randn(2, 1, 16, 1, 8, 6, generator=torch.Generator().manual_seed(5)).unbind()
    mask = torch.zeros(1, 1, 8, 6)
    mask[..., 3:] = 1.0
    (sigmas,) = run("WanLiteFlowSchedule", steps=12, shift=SHIFT)
    found = sample_frames(experts(high, low, positive, negative), noise, sigmas, latent=picture, mask=mask)
    assert torch.allclose(found[..., :3], picture[..., :3], atol=1e-4)
    assert float((found[..., 3:] - picture[..., 3:]).abs().max()) > 0.1


def check_guidance_of_one_skips_the_negative_prompt() -> None:
    high, low, positive, negative = pair()
    (sigmas,) = run("WanLiteFlowSchedule", steps=4, shift=SHIFT)
    noise = torch.randn(1, 16, 1, 8, 6, generator=torch.Generator().manual_seed(5))
    calls = []
    for model in (high, low):
        model.model.diffusion_model.register_forward_pre_hook(lambda module, args: calls.append(args[0].shape[0]))
    sample_frames(experts(high, low, positive, negative, cfg_high_noise=1.0, cfg_low_noise=1.0), noise, sigmas)
    assert calls == [1] * 4


def check_a_second_shift_on_either_expert_is_refused() -> None:
    high, low, positive, negative = pair()
    (sigmas,) = run("WanLiteFlowSchedule", steps=8, shift=SHIFT)
    noise = torch.randn(1, 16, 1, 8, 6, generator=torch.Generator().manual_seed(5))
    (shifted,) = run("ModelSamplingSD3", model=low, shift=8.0)
    message = raises(ValueError, sample_frames, experts(high, shifted, positive, negative), noise, sigmas)
    assert "shift 8" in message and "shift 12" in message and "Remove" in message, message
    sample_frames(experts(high, shifted, positive, negative, on_mismatch="warn"), noise, sigmas)


def check_negative_is_needed_only_with_guidance():
    high, low, positive, _ = pair()
    given = {"model_high_noise": high, "model_low_noise": low, "positive": positive}
    (guider,) = run("WanLiteExpertsGuider", **given, cfg_high_noise=1.0, cfg_low_noise=1.0)
    assert guider.original_conds["negative"] is not None
    message = raises(ValueError, run, "WanLiteExpertsGuider", **given, cfg_high_noise=1.0, cfg_low_noise=3.0)
    assert "cfg is 3" in message and "negative" in message, message
