"""The teacher's own sampling: two networks, one for high and one for low noise, under one solver.

Source: Wan2.2 at 42bf4cf, text2video.py and configs/wan_t2v_A14B.py: at every step the truncated timestep decides the
network and its guidance, and the solver never learns of the change, so its history runs across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

from ...samplers.process import FLOW
from ...samplers.schedule import TRAIN_TIMESTEPS, wan_timestep
from ..host.checks import mismatch_input, settle, sigmas_shift_problem
from ..host.model_sampling import with_process
from ..host.schema import CATEGORY, schema


@dataclass(frozen=True)
class Expert:
    """A MODEL as the user connected it, its guidance, and its clone with Wan's truncated timesteps."""

    given: Any
    cfg: float
    patcher: Any


@dataclass(frozen=True)
class Run:
    """What the host passes to a sampling, kept for the expert that is loaded in the middle of it."""

    noise: Tensor
    latent: Tensor | None
    mask: Tensor | None
    sigmas: Tensor
    seed: int | None
    latent_shapes: list[Any] | None
    conds: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Loaded:
    """The second expert, ready to predict."""

    expert: Expert
    model: Any
    conds: dict[str, list[dict[str, Any]]]
    options: dict[str, Any]
    extra_models: list[Any]


class ExpertsGuider(comfy.samplers.CFGGuider):
    """A GUIDER that asks the high-noise expert down to the boundary and the low-noise expert below it.

    The expert of the first step is the guider's model; the other is loaded when the first step needs it, once, so that
    a card with room for one of them is enough.
    """

    def __init__(self, high: Expert, low: Expert, boundary: float, on_mismatch: str) -> None:
        super().__init__(high.patcher)
        self.high, self.low = high, low
        self.boundary = boundary
        self.on_mismatch = on_mismatch
        self._run: Run | None = None
        self._second: Loaded | None = None

    def expert_at(self, sigma: Tensor) -> Expert:
        """The official rule: the truncated timestep against the boundary times 1000."""
        timestep = int(wan_timestep(sigma.max().cpu()))
        return self.high if timestep >= self.boundary * TRAIN_TIMESTEPS else self.low

    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """As the host's, from the expert that the first sigma asks for."""
        settle((sigmas_shift_problem(expert.given, sigmas) for expert in (self.high, self.low)), self.on_mismatch)
        if len(sigmas):
            first = self.expert_at(sigmas[0])
            self.model_patcher, self.cfg = first.patcher, first.cfg
            self.model_options = first.patcher.model_options
        return super().sample(noise, latent_image, sampler, sigmas, *args, **kwargs)

    def outer_sample(self, *args: Any, **kwargs: Any) -> Any:
        """As the host's; the second expert is given back at the end, also after an error."""
        try:
            return super().outer_sample(*args, **kwargs)
        finally:
            self._release()

    def inner_sample(
        self, noise: Tensor, latent_image: Tensor | None, device: Any, sampler: Any, sigmas: Tensor,
        denoise_mask: Tensor | None, callback: Any, disable_pbar: bool, seed: int | None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """As the host's, which makes the first expert's conditioning; what the second will need is kept."""
        conds = {key: [cond.copy() for cond in value] for key, value in self.conds.items()}
        self._run = Run(noise, latent_image, denoise_mask, sigmas, seed, kwargs.get("latent_shapes"), conds)
        return super().inner_sample(
            noise, latent_image, device, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, **kwargs
        )

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Any:
        """X (b, c, t, h, w) at sigma (b,) -> x0, guided, from the expert in charge."""
        expert = self.expert_at(timestep)
        if expert.patcher is self.model_patcher:
            model, conds, options = self.inner_model, self.conds, model_options or {}
        else:
            assert self._run is not None
            self._second = self._second or load_second(expert, self._run)
            model, conds, options = self._second.model, self._second.conds, self._second.options
        negative, positive = conds.get("negative"), conds.get("positive")
        return comfy.samplers.sampling_function(
            model, x, timestep, negative, positive, expert.cfg, model_options=options, seed=seed
        )

    def _release(self) -> None:
        second, self._second, self._run = self._second, None, None
        if second is not None:
            second.expert.patcher.cleanup()
            comfy.sampler_helpers.cleanup_models(second.conds, second.extra_models)


def load_second(expert: Expert, run: Run) -> Loaded:
    """Bring the second expert in as the host brings in the first: memory, hooks, conditioning of its own."""
    patcher = expert.patcher
    options = comfy.model_patcher.create_model_options_clone(patcher.model_options)
    comfy.sampler_helpers.prepare_model_patcher(patcher, run.conds, options)
    model, conds, extra = comfy.sampler_helpers.prepare_sampling(patcher, run.noise.shape, run.conds, options)
    comfy.samplers.cast_to_load_options(options, device=patcher.load_device, dtype=patcher.model_dtype())
    patcher.pre_run()
    latent = run.latent
    if latent is not None and torch.count_nonzero(latent) > 0:
        latent = model.process_latent_in(latent)
    conds = comfy.samplers.process_conds(
        model, run.noise, conds, patcher.load_device, latent, run.mask, run.seed, latent_shapes=run.latent_shapes
    )
    options.setdefault("transformer_options", {})["sample_sigmas"] = run.sigmas
    return Loaded(expert, model, conds, options, extra)


def cfg_input(name: str, default: float, which: str) -> io.Float.Input:
    return io.Float.Input(
        name, default=default, min=0.0, max=100.0, step=0.1, round=0.01,
        tooltip=f"Guidance of the {which}-noise model; {default:g} is the teacher's own. 1 leaves the negative prompt "
        "out.",
    )  # fmt: skip


class WanLiteExpertsGuider(io.ComfyNode):
    """Two MODELs and their guidance -> GUIDER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteExpertsGuider",
            display_name="Wan Lite Experts Guider",
            category=f"{CATEGORY}/sampling",
            description="Wan 2.2 A14B as its own code samples it: one solver run over both models. Use it in "
            "SamplerCustomAdvanced with WanLiteSolverFlowUniPC and WanLiteFlowSchedule (40 steps, shift 12); for a "
            "still picture give a latent of length 1.",
            search_aliases=["moe", "wan 2.2 14b", "high noise low noise", "two stage", "boundary"],
            inputs=[
                io.Model.Input("model_high_noise", tooltip="Wan 2.2 T2V A14B high noise."),
                io.Model.Input("model_low_noise", tooltip="Wan 2.2 T2V A14B low noise."),
                io.Conditioning.Input("positive", tooltip="The prompt."),
                io.Conditioning.Input("negative", tooltip="What to avoid. The teacher has a long text of its own."),
                io.Float.Input(
                    "boundary", default=0.875, min=0.0, max=1.0, step=0.001, round=0.001,
                    tooltip="The high-noise model runs while the truncated timestep is at least this times 1000. "
                    "0.875 for text to video, 0.9 for image to video.",
                ),
                cfg_input("cfg_high_noise", 4.0, "high"),
                cfg_input("cfg_low_noise", 3.0, "low"),
                mismatch_input(),
            ],
            outputs=[io.Guider.Output(tooltip="For SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model_high_noise: Any, model_low_noise: Any, positive: list[Any], negative: list[Any], boundary: float,
        cfg_high_noise: float, cfg_low_noise: float, on_mismatch: str = "error",
    ) -> io.NodeOutput:  # fmt: skip
        high = Expert(model_high_noise, cfg_high_noise, with_process(model_high_noise, FLOW))
        low = Expert(model_low_noise, cfg_low_noise, with_process(model_low_noise, FLOW))
        guider = ExpertsGuider(high, low, boundary, on_mismatch)
        guider.set_conds(positive, negative)
        return io.NodeOutput(guider)


NODES = [WanLiteExpertsGuider]
