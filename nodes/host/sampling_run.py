"""A whole sampling in the host, as one node does it: what is sampled, how, and the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import comfy.model_base
import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...samplers.contract import SamplingContract
from ...samplers.noise import per_item_noise
from ...samplers.prediction import Prediction
from ...samplers.process import FLOW, NoiseProcess
from ...samplers.schedule import Schedule
from ...samplers.solver import Solver
from .checks import check_contract, check_process, check_shift, get_contract, report_problems
from .guard.guard import attach_contract
from .model_sampling import (
    get_model_process,
    make_contract_sampling,
    make_fixed_schedule,
    patch_sampling,
    to_ddim_sigmas,
    to_host_process,
)
from .schema import SEEDS
from .solver_adapter import SolverRun, make_sampler
from .student_model import STUDENT_ATTACHMENT, ProjectedLatent
from .validation.links import check_conditioning, check_latent

PER_ITEM, OFFICIAL_CPU, OFFICIAL_GPU = "per item (CPU)", "official (CPU)", "official (GPU)"


@dataclass(frozen=True)
class SampleInputs:
    """What is to be sampled, as the host's sampler nodes know it.

    Raises:
        ValueError: CONDITIONING or LATENT hold nothing, are not of their form, or hold NaN.
    """

    positive: list
    negative: list | None
    latent: dict[str, Any]
    seed: int
    cfg: float

    def __post_init__(self) -> None:
        check_conditioning(self.positive, "positive")
        if self.negative is not None:
            check_conditioning(self.negative, "negative")
        check_latent(self.latent, "latent_image")


@dataclass(frozen=True)
class SamplingPlan:
    """How it is to be sampled."""

    schedule: Schedule
    solver: Solver
    prediction: Prediction
    shift: float
    from_noise: bool


class RunNumbers(NamedTuple):
    """The numbers of a sampler node that make its schedule."""

    steps: int
    shift: float
    denoise: float


class ItemNoise:
    """The host's NOISE: item i of a batch gets the noise of seed + i, whatever the batch size.

    ``official (GPU)`` draws as Wan's own code does on a graphics card: one image's shape, generator on the card. The
    numbers then depend on the kind of card, as they do there.
    """

    def __init__(self, seed: int, mode: str = PER_ITEM) -> None:
        self.seed = seed
        self.mode = mode

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        """Return float32 noise on the CPU for a latent's samples (b, c, ...), item by item, by ``batch_index``."""
        samples = latent["samples"]
        if samples.is_nested:
            raise ValueError("latent: several latents in one (audio, video) have no noise per item; use RandomNoise.")
        items = latent.get("batch_index") or range(samples.shape[0])
        draw = _draw_on_gpu if self.mode == OFFICIAL_GPU else _draw_on_cpu
        return torch.cat([draw(samples.shape[1:], (self.seed + item) % SEEDS) for item in items])


def _draw_on_cpu(shape: torch.Size, seed: int) -> Tensor:
    return per_item_noise((1, *shape), seed)


def _draw_on_gpu(shape: torch.Size, seed: int) -> Tensor:
    device = comfy.model_management.get_torch_device()
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=device, dtype=torch.float32)[None].cpu()


def sample_plan(model: Any, inputs: SampleInputs, plan: SamplingPlan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the plan on a MODEL and return the LATENT and the LATENT of the last x0.

    Raises:
        ValueError: The guidance has no negative, or the latent belongs to another kind of model.
    """
    latent = fit_latent(model, inputs.latent)
    patched, schedule = patch_for_training(model, plan)
    last: dict[str, Tensor] = {}
    guider = comfy.samplers.CFGGuider(patched)
    guider.set_conds(inputs.positive, get_negative(inputs))
    guider.set_cfg(inputs.cfg)
    samples = guider.sample(
        ItemNoise(inputs.seed).generate_noise(latent),
        latent["samples"],
        make_sampler(SolverRun(plan.solver, schedule=schedule, from_noise=plan.from_noise)),
        schedule.sigmas.float(),
        denoise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(patched, schedule.steps, last),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=inputs.seed,
    )
    denoised = patched.model.process_latent_out(last["x0"].float().cpu())
    device = comfy.model_management.intermediate_device()
    return {**latent, "samples": samples.to(device)}, {**latent, "samples": denoised.to(device)}


def sample_as_trained(
    model: Any, inputs: SampleInputs, solver: Solver, numbers: RunNumbers, on_mismatch: str
) -> tuple[SamplingContract, tuple[dict[str, Any], dict[str, Any]]]:
    """Check and run a solver in its own process, on its own schedule.

    Returns:
        What was asked for as a contract, and what :func:`sample_plan` returns.

    Raises:
        ContractMismatch: It is not what the checkpoint's contract says, and ``on_mismatch`` is ``error``.
        ValueError: A number is outside its range, or as :func:`sample_plan` says.
    """
    process, default = next(iter(solver.schedules.items()))
    prediction = Prediction.of_process(process)
    asked = {"solver": solver.name, "prediction": prediction, "steps": numbers.steps, "shift": numbers.shift}
    requested = make_requested_contract(model, inputs, **asked)
    check_sampling(model, requested, to_host_process(process), on_mismatch)
    schedule = default.make(numbers.steps, shift=numbers.shift, denoise=numbers.denoise)
    plan = SamplingPlan(schedule, solver, prediction, numbers.shift, numbers.denoise == 1.0)
    return requested, sample_plan(model, inputs, plan)


def fit_latent(model: Any, latent: dict[str, Any]) -> dict[str, Any]:
    """Return a LATENT in the model's channels and axes: an empty one is remade, an image is projected where it must be.

    Raises:
        ValueError: The latent has the channels of another model.
    """
    ratios = {key: latent[key] for key in ("downscale_ratio_spacial", "downscale_ratio_temporal") if key in latent}
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"], **ratios)
    own = model.get_model_object("latent_format")
    outside = own.vae_format.latent_channels if isinstance(own, ProjectedLatent) else own.latent_channels
    if samples.shape[1] not in (own.latent_channels, outside):
        raise ValueError(
            f"latent_image has {samples.shape[1]} channels, but this MODEL works on latents of {outside}; encode the "
            "image with the VAE of this model, or use WanLiteEmptyLatent with the MODEL connected."
        )
    if isinstance(own, ProjectedLatent):
        samples = own.process_in(samples)
    return {key: value for key, value in latent.items() if key not in ratios} | {"samples": samples}


def get_negative(inputs: SampleInputs) -> list:
    """Return the negative conditioning; at cfg 1 the host never evaluates it, so there it may be missing.

    Raises:
        ValueError: It is missing, and cfg is not 1.
    """
    if inputs.negative is not None:
        return inputs.negative
    if inputs.cfg != 1.0:
        raise ValueError(
            f"cfg is {inputs.cfg:g}, but nothing is connected to negative; connect a CONDITIONING (an empty prompt, "
            "for instance), or set cfg to 1, which is how students are trained."
        )
    return inputs.positive


def patch_for_training(model: Any, plan: SamplingPlan) -> tuple[Any, Schedule]:
    """Return the MODEL and its schedule: students (and core's Wan) as in training, others in the host's process.

    A network that was not trained on the timesteps 0..999 of Wan gets those of its own MODEL, at the same levels.
    """
    schedule, flow = plan.schedule, plan.schedule.process is FLOW
    exact = model.get_attachment(STUDENT_ATTACHMENT) is not None
    if exact or (flow and isinstance(model.model, comfy.model_base.WAN21)):
        return patch_sampling(model, make_fixed_schedule(schedule, plan.prediction, plan.shift)), schedule
    process = get_model_process(model)
    if flow:
        return model, schedule if process is FLOW else schedule.to_process(process)
    return model, Schedule(to_ddim_sigmas(schedule, model), process)


def apply_contract(model: Any, contract: SamplingContract, on_mismatch: str) -> Any:
    """Return a clone of ``model`` that reads its output as the contract says, is fed as in training, and carries it.

    Args:
        model: The MODEL.
        contract: The contract.
        on_mismatch: What its guard does where a sampler of core's deviates; see :func:`attach_contract`.
    """
    patched = patch_sampling(model, make_contract_sampling(contract, model))
    attach_contract(patched, contract, on_mismatch)
    return patched


def make_requested_contract(model: Any, inputs: SampleInputs, **asked: Any) -> SamplingContract:
    """Return what the node was asked to do as a contract: compared with the checkpoint's, written into the image.

    Args:
        model: The MODEL; what its own contract says beyond the rest is kept.
        inputs: What is sampled.
        asked: Solver, prediction, steps and shift.
    """
    samples = fit_latent(model, inputs.latent)["samples"]
    asked |= {"latent": (samples.shape[1], *samples.shape[-2:]), "cfg": inputs.cfg}
    declared = get_contract(model)
    return declared.with_plain_schedule(**asked) if declared else SamplingContract(**asked)


def check_sampling(model: Any, requested: SamplingContract, process: NoiseProcess, on_mismatch: str) -> None:
    """Compare with the checkpoint's contract; without one, at least with the MODEL's noise process.

    Raises:
        ContractMismatch: They differ, and ``on_mismatch`` is ``error``.
    """
    declared = get_contract(model)
    problems: list[str | None] = [*check_contract(declared, requested)]
    if declared is None:
        problems = [check_process(model, process, f"sampling with {requested.solver}")]
    report_problems([check_shift(model, requested.shift), *problems], on_mismatch)
