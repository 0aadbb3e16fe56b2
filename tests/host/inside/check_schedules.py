"""SIGMAS and NOISE: the numbers of training come back out of them, and the plot shows them."""

from __future__ import annotations

import tiny_models
import torch

from harness import run, submodule


def check_flow_timesteps_come_back_from_float32_sigmas() -> None:
    host, library = submodule("nodes.host.model_sampling"), submodule("samplers.schedule")
    sampling = host.TruncatedFlow()
    for steps in (*range(1, 130), 250, 333, 500, 999, 1000):
        for shift in (0.1, 1.0, 3.0, 5.0, 8.0, 12.0, 50.0):
            schedule = library.flow_schedule(steps, shift=shift)
            sigmas = host.to_flow_sigmas(schedule)
            assert sigmas.dtype == torch.float32 and bool((sigmas[1:] < sigmas[:-1]).all()), (steps, shift)
            assert torch.equal(sampling.timestep(sigmas[:-1]).long(), schedule.timesteps), (steps, shift)
            assert float((sigmas.double() - schedule.sigmas).abs().max()) <= 1.2e-7, (steps, shift)


def check_flow_sigmas_are_training_free_of_the_models_shift() -> None:
    (sigmas,) = run("WanLiteFlowSchedule", steps=4, shift=5.0)
    assert torch.allclose(sigmas, torch.tensor([0.99979985, 0.93726546, 0.83305538, 0.62468766, 0.0]), atol=1e-7)


def check_denoise_keeps_the_last_steps() -> None:
    (whole,) = run("WanLiteFlowSchedule", steps=20, shift=5.0)
    (part,) = run("WanLiteFlowSchedule", steps=10, shift=5.0, denoise=0.5)
    assert torch.equal(part, whole[10:])


def check_ddim_timesteps_come_back_through_the_hosts_table() -> None:
    library = submodule("samplers.schedule")
    sampling = submodule("nodes.host.model_sampling").LinearEpsilon()
    for steps in (1, 2, 7, 10, 20, 50, 123, 124, 500, 1000):
        (sigmas,) = run("WanLiteDDIMSchedule", steps=steps)
        assert torch.equal(sampling.timestep(sigmas[:-1]), library.ddim_schedule(steps, shift=1.0).timesteps), steps
    table = sampling.sigmas
    assert torch.equal(sampling.timestep(table), torch.arange(1000)), "every training timestep has a level of its own"
    assert bool((table[1:] > table[:-1]).all())


def check_ddim_schedule_takes_a_models_own_levels() -> None:
    sdxl = tiny_models.sdxl()
    (sigmas,) = run("WanLiteDDIMSchedule", steps=10, model=sdxl)
    sampling = sdxl.get_model_object("model_sampling")
    timesteps = submodule("samplers.schedule").ddim_schedule(10, shift=1.0).timesteps
    assert torch.equal(sampling.timestep(sigmas[:-1]), timesteps)
    assert abs(float(sigmas[0]) - float(sampling.sigma_max)) < 1e-4 and float(sigmas[-1]) == 0.0
    (flow,) = run("WanLiteDDIMSchedule", steps=10, model=tiny_models.wan())
    assert torch.allclose(flow, torch.tensor([0.999, 0.888, 0.777, 0.666, 0.555, 0.444, 0.333, 0.222, 0.111, 0.0]))


def check_plot_and_table() -> None:
    (sigmas,) = run("WanLiteFlowSchedule", steps=8, shift=5.0)
    (other,) = run("WanLiteDDIMSchedule", steps=5)
    before = sigmas.clone()
    image, table = run("WanLiteSchedulePlot", sigmas=sigmas, compare=other)
    assert (
        image.ndim == 4
        and image.shape[0] == 1
        and image.shape[-1] == 3
        and 0.0 <= float(image.min()) <= float(image.max()) <= 1.0
    )
    assert "8 steps" in table and "5 steps" in table and "0.999800" in table and "t = 999.80" in table
    assert torch.equal(sigmas, before)
    alone, _ = run("WanLiteSchedulePlot", sigmas=sigmas)
    assert not torch.equal(alone, image)


def check_noise_of_an_item_does_not_depend_on_the_batch() -> None:
    for mode in ("per item (CPU)", "official (CPU)", "official (GPU)"):
        (noise,) = run("WanLiteNoise", noise_seed=11, mode=mode)
        batch = noise.generate_noise({"samples": torch.zeros(4, 16, 1, 6, 5)})
        for item in range(4):
            (alone,) = run("WanLiteNoise", noise_seed=11 + item, mode=mode)
            assert torch.equal(alone.generate_noise({"samples": torch.zeros(1, 16, 1, 6, 5)})[0], batch[item]), mode


def check_official_noise() -> None:
    """Wan draws [16, T, h, w] with a seeded generator, no batch."""
    generator = torch.Generator().manual_seed(42)
    expected = torch.randn(16, 1, 6, 5, generator=generator, dtype=torch.float32)
    for mode in ("official (CPU)", "per item (CPU)"):
        (noise,) = run("WanLiteNoise", noise_seed=42, mode=mode)
        assert torch.equal(noise.generate_noise({"samples": torch.zeros(1, 16, 1, 6, 5)})[0], expected), mode


def check_noise_keeps_to_batch_index_and_large_seeds() -> None:
    (noise,) = run("WanLiteNoise", noise_seed=5)
    whole = noise.generate_noise({"samples": torch.zeros(3, 4, 6, 5)})
    part = noise.generate_noise({"samples": torch.zeros(1, 4, 6, 5), "batch_index": [2]})
    assert torch.equal(part[0], whole[2])
    (largest,) = run("WanLiteNoise", noise_seed=2**64 - 1)
    assert largest.generate_noise({"samples": torch.zeros(2, 4, 6, 5)}).shape == (2, 4, 6, 5)
