"""One run of a student in the host: its schedule's own numbers inside, the host's guider round it.

The host's guider makes the predictions (its CFG, masks, LoRA and hooks act as always); solver and loop are ours.
See docs/notes/0004-student-as-model.md for how the network comes to see the timesteps of its training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import torch
from torch import Tensor, nn

from ...samplers.prediction import Prediction, to_x0
from ...samplers.process import FLOW, NoiseProcess
from ...samplers.schedule import TRAIN_TIMESTEPS, Schedule, shift_sigma
from ...samplers.solver import Solver, integrate
from .model_sampling import linear_epsilon_sigmas


class ScheduledSampling(nn.Module):
    """The host's ``model_sampling`` for one run: the schedule's own timesteps, the output read in its own process.

    The host hands sigmas about as float32; here they are only names for the steps of the schedule, whose own numbers
    do the arithmetic. So a run in the host is the library's run, digit for digit.
    """

    levels: Tensor
    sigmas: Tensor

    def __init__(self, schedule: Schedule, prediction: Prediction, shift: float) -> None:
        super().__init__()
        self.schedule = schedule
        self.prediction = prediction
        self.shift = shift
        self._last: tuple[Tensor, Tensor] | None = None
        self.register_buffer("levels", schedule.sigmas[:-1].float(), persistent=False)
        # Schedulers and previews of other packs look for the host's table of sigmas, rising.
        self.register_buffer("sigmas", training_levels(schedule.process, shift), persistent=False)

    sigma_min = property(lambda self: self.sigmas[0])
    sigma_max = property(lambda self: self.sigmas[-1])

    def step_of(self, sigma: Tensor) -> int:
        """The step of the schedule whose level is nearest to the host's sigma (one number, or one for each item)."""
        return int((self.levels.cpu() - sigma.reshape(-1)[0].float().cpu()).abs().argmin())

    def timestep(self, sigma: Tensor) -> Tensor:
        """What training fed at this level, 0..999, in the shape of ``sigma``."""
        fed = self.schedule.timestep_at(self.schedule.levels[self.step_of(sigma)])
        return torch.full_like(sigma, float(fed), dtype=torch.float32)

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        return noise

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        level = self.schedule.levels[self.step_of(sigma)]
        x0 = to_x0(model_output, model_input, level, self.prediction, self.schedule.process)
        self._last = (x0, model_output)
        return x0

    def noise_behind(self, x0: Tensor) -> Tensor | None:
        """The output that ``x0`` was read from, where the output is noise and nothing has changed x0 since."""
        if self._last is None or self.prediction is not Prediction.EPSILON:
            return None
        made, output = self._last
        self._last = None
        return output if torch.equal(made, x0) else None

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Noise a picture to ``sigma``: for inpainting masks, and for the start of an image-to-image run."""
        if max_denoise:
            return noise
        return self.schedule.process.add_noise(latent_image, noise, sigma.reshape(-1)[0])

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        return latent

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level at a training timestep (any number in 0..999), for schedules made outside."""
        position = timestep.float().cpu().clamp(0, len(self.sigmas) - 1)
        low, high = self.sigmas[position.floor().long()], self.sigmas[position.ceil().long()]
        return torch.lerp(low, high, position.frac()).to(timestep.device)

    def percent_to_sigma(self, percent: float) -> float:
        """Where a share of the run is done, for conditionings that act only in a part of it."""
        if percent <= 0.0:
            return float("inf")
        return 0.0 if percent >= 1.0 else float(self.sigma(torch.tensor((1.0 - percent) * (TRAIN_TIMESTEPS - 1))))


class ScheduledFlow(ScheduledSampling, comfy.model_sampling.CONST):
    """The same, known to the host's other nodes as a flow."""


def training_levels(process: NoiseProcess, shift: float) -> Tensor:
    """The level of each training timestep, (1000,), rising: shifted for flow, else of alpha_bar = 1 - t/1000."""
    if process is FLOW:
        return shift_sigma(torch.arange(1, TRAIN_TIMESTEPS + 1) / TRAIN_TIMESTEPS, shift)
    ratio = linear_epsilon_sigmas()
    return process.from_ratio(ratio)


@dataclass
class HostDenoiser:
    """The host's guided model as a denoiser of the library.

    Args:
        model: the host's ``model(x, sigma) -> x0``, masks included. extra_args: what the host wants passed with it.
        sampling: of the MODEL where it is ours, to look at the network's own output.
    """

    model: Callable[..., Tensor]
    extra_args: dict[str, Any]
    sampling: ScheduledSampling | None

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return x0 for the noisy latent ``x`` at ``sigma``. Shapes: (b, ...) both."""
        return self.model(x, x.new_full((x.shape[0],), sigma), **self.extra_args)

    def with_noise(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor | None]:
        """Return x0, and the network's own noise where x0 is what the network alone made: no guidance, mask or hook."""
        x0 = self(x, sigma)
        return x0, None if self.sampling is None else self.sampling.noise_behind(x0)


class SolverSampler(comfy.samplers.Sampler):
    """The host's SAMPLER round a solver and its finished schedule."""

    def __init__(self, solver: Solver, schedule: Schedule, from_noise: bool) -> None:
        self.solver = solver
        self.schedule = schedule
        self.from_noise = from_noise

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Start from the noise alone (as training did), or from a noised picture, and run all steps."""
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent_image, noise
        sampling = model_wrap.inner_model.model_sampling
        own = sampling if isinstance(sampling, ScheduledSampling) else None
        denoise = HostDenoiser(model, {**extra_args, "denoise_mask": denoise_mask}, own)

        def on_step(i: int, x: Tensor, x0: Tensor) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if callback is not None:
                callback(i, x0, x, self.schedule.steps)

        start = noise
        if latent_image is not None and not self.from_noise:
            start = self.schedule.process.add_noise(latent_image, noise, self.schedule.levels[0])
        return integrate(denoise, start, self.schedule, self.solver, on_step=on_step)[0]
