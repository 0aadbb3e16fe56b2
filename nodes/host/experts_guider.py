"""The teacher's own sampling: two networks, one for high and one for low noise, under one solver.

Source: Wan2.2 at 42bf4cf, text2video.py and configs/wan_t2v_A14B.py: at every step the truncated timestep decides the
network and its guidance, and the solver never learns of the change, so its history runs across it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

from ...samplers.contract import SamplingContract
from ...samplers.mismatch import check_experts
from ...training_rules import is_high_noise
from .checks import check_sigmas_shift, get_contract, report_problems
from .model_sampling import TruncatedFlow, make_contract_sampling, patch_sampling
from .progress import show_refusals


@dataclass(frozen=True)
class Expert:
    """A MODEL as the user connected it, its guidance, and its clone with Wan's truncated timesteps."""

    given: Any
    cfg: float
    patcher: Any


@dataclass(frozen=True)
class Guidance:
    """Where two experts change, 0 to 1, and the guidance of each."""

    boundary: float
    cfg_high: float
    cfg_low: float


@dataclass(frozen=True)
class HostSampling:
    """What the host passes to a sampling, kept for the expert that is loaded in the middle of it."""

    noise: Tensor
    latent: Tensor | None
    mask: Tensor | None
    sigmas: Tensor
    seed: int | None
    latent_shapes: list[Any] | None
    conds: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class LoadedExpert:
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
        self._sampling: HostSampling | None = None
        self._second: LoadedExpert | None = None
        self._held: Tensor | None = None

    def hold_sigma(self, sigma: float | None) -> None:
        """Say at which sigma the next prediction is, as the host has it, so that it is not fetched from the device.

        Args:
            sigma: The host's number; None after the call.
        """
        self._held = None if sigma is None else torch.tensor([sigma])

    def set_prompts(self, positive: list[Any], negative: list[Any] | None) -> None:
        """Set the conditioning; without guidance the host never evaluates the negative, so there it may be missing.

        Raises:
            ValueError: It is missing, and an expert has guidance.
        """
        guided = [expert.cfg for expert in (self.high, self.low) if expert.cfg != 1.0]
        if negative is None and guided:
            raise ValueError(
                f"cfg is {guided[0]:g}, but nothing is connected to negative; connect a CONDITIONING, or set both "
                "guidances to 1, as few-step students are sampled."
            )
        self.set_conds(positive, positive if negative is None else negative)

    def inner_set_conds(self, conds: dict[str, Any]) -> None:
        """Set conditioning as the host's guider does; with hooks, on patchers that have them, for both experts."""
        if _have_hooks(conds):
            self.high, self.low = _allow_hooks(self.high), _allow_hooks(self.low)
            self.model_patcher = self.high.patcher
        super().inner_set_conds(conds)

    def choose_expert(self, sigma: Tensor) -> Expert:
        """Apply the official rule: the timestep, as it is fed, against the boundary times 1000."""
        model_sampling = self.high.patcher.get_model_object("model_sampling")
        timestep = float(model_sampling.timestep(sigma.max().cpu().reshape(1)))
        return self.high if is_high_noise(timestep, self.boundary) else self.low

    @show_refusals()
    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """Sample as the host's guider does, from the expert that the first sigma asks for."""
        report_problems(
            (check_sigmas_shift(expert.given, sigmas) for expert in (self.high, self.low)), self.on_mismatch
        )
        if len(sigmas):
            first = self.choose_expert(sigmas[0])
            self.model_patcher, self.cfg = first.patcher, first.cfg
            self.model_options = first.patcher.model_options
        return super().sample(noise, latent_image, sampler, sigmas, *args, **kwargs)

    def outer_sample(self, *args: Any, **kwargs: Any) -> Any:
        """Run as the host's; the second expert is given back at the end, also after an error."""
        try:
            return super().outer_sample(*args, **kwargs)
        finally:
            self._release()

    def inner_sample(  # noqa: PLR0913 - the host's call
        self,
        noise: Tensor,
        latent_image: Tensor | None,
        device: Any,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None,
        callback: Any,
        disable_pbar: bool,
        seed: int | None,
        **kwargs: Any,
    ) -> Any:
        """Run as the host's, which makes the first expert's conditioning; keep what the second will need."""
        conds = {key: [cond.copy() for cond in value] for key, value in self.conds.items()}
        self._sampling = HostSampling(
            noise, latent_image, denoise_mask, sigmas, seed, kwargs.get("latent_shapes"), conds
        )
        return super().inner_sample(
            noise, latent_image, device, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, **kwargs
        )

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Any:
        """Return x0 for x (b, c, t, h, w) at sigma (b,), guided, from the expert in charge."""
        expert = self.choose_expert(timestep if self._held is None else self._held)
        if expert.patcher is self.model_patcher:
            model, conds, options = self.inner_model, self.conds, model_options or {}
        else:
            assert self._sampling is not None
            self._second = self._second or load_second(expert, self._sampling)
            model, conds, options = self._second.model, self._second.conds, self._second.options
        negative, positive = conds.get("negative"), conds.get("positive")
        return comfy.samplers.sampling_function(
            model, x, timestep, negative, positive, expert.cfg, model_options=options, seed=seed
        )

    def _release(self) -> None:
        second, self._second, self._sampling = self._second, None, None
        if second is not None:
            second.expert.patcher.cleanup()
            comfy.sampler_helpers.cleanup_models(second.conds, second.extra_models)


def _have_hooks(conds: dict[str, Any]) -> bool:
    find = getattr(comfy.sampler_helpers, "cond_has_hooks", None)  # older hosts have no patchers without hooks
    return find is not None and any(find(cond) for cond in conds.values())


def _allow_hooks(expert: Expert) -> Expert:
    """Return an expert whose patcher can have hooks: the host's dynamic one cannot, and gives another for them."""
    patcher = expert.patcher
    return replace(expert, patcher=patcher.get_non_dynamic_delegate()) if patcher.is_dynamic() else expert


def load_second(expert: Expert, sampling: HostSampling) -> LoadedExpert:
    """Bring the second expert in as the host brings in the first: memory, hooks, conditioning of its own."""
    patcher = expert.patcher
    options = comfy.model_patcher.create_model_options_clone(patcher.model_options)
    comfy.sampler_helpers.prepare_model_patcher(patcher, sampling.conds, options)
    model, conds, extra = comfy.sampler_helpers.prepare_sampling(patcher, sampling.noise.shape, sampling.conds, options)
    comfy.samplers.cast_to_load_options(options, device=patcher.load_device, dtype=patcher.model_dtype())
    patcher.pre_run()
    latent = sampling.latent
    if latent is not None and torch.count_nonzero(latent) > 0:
        latent = model.process_latent_in(latent)
    conds = comfy.samplers.process_conds(
        model,
        sampling.noise,
        conds,
        patcher.load_device,
        latent,
        sampling.mask,
        sampling.seed,
        latent_shapes=sampling.latent_shapes,
    )
    options.setdefault("transformer_options", {})["sample_sigmas"] = sampling.sigmas
    return LoadedExpert(expert, model, conds, options, extra)


def make_experts(high: Any, low: Any, guidance: Guidance, on_mismatch: str) -> ExpertsGuider:
    """Return the guider of two MODELs: fed as the contract that one of them carries says, otherwise as Wan's own code.

    A contract of two experts also says where they change and with what guidance.

    Args:
        high: The high-noise MODEL.
        low: The low-noise MODEL.
        guidance: What to take where there is no such contract.
        on_mismatch: What to do where they do not fit together.

    Raises:
        ContractMismatch: The MODELs' contracts say that they are in each other's place, or differ.
    """
    contracts = get_contract(high), get_contract(low)
    report_problems([check_experts(*contracts)], on_mismatch)
    contract = next((one for one in contracts if one is not None and one.expert_boundary is not None), None)
    if contract is not None and contract.expert_boundary is not None:
        guidance = Guidance(contract.expert_boundary, contract.cfg, contract.cfg)
    return ExpertsGuider(
        make_expert(high, guidance.cfg_high, contract),
        make_expert(low, guidance.cfg_low, contract),
        guidance.boundary,
        on_mismatch,
    )


def make_expert(model: Any, cfg: float, contract: SamplingContract | None) -> Expert:
    """Return a MODEL as an expert: fed the contract's timesteps or else Wan's truncated ones, with its own guidance."""
    own = TruncatedFlow() if contract is None else make_contract_sampling(contract, model)
    return Expert(model, cfg, patch_sampling(model, own))
