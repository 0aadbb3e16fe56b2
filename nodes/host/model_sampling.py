"""All kinds of the host's ``model_sampling`` that this pack has, and SIGMAS as each of them counts noise.

The host hands a sampler ``model(x, sigma) -> x0`` and keeps the rest inside the MODEL's ``model_sampling``: how the
input is scaled, which timestep the network is fed, how its output is read. So a solver needs only the noise process,
and parity with training needs only a ``model_sampling`` whose ``timestep`` returns what training fed.

====================== ============================ ========================== ======================================
class                  sigma                        the network is fed         used by
====================== ============================ ========================== ======================================
TruncatedFlow          flow, 0 to 1                 1000 sigma, truncated      students of velocity, Contract Sampling,
                                                                               the experts guider
ContractFlow           flow, 0 to 1                 a contract's own timesteps Contract Sampling, the experts guider
LinearEpsilon          noise over signal, to 31.6   0, 1, ... 999              students of epsilon, Contract Sampling
FixedSchedule          one schedule's own levels    that schedule's timesteps  the samplers in one node
RawOutput              the timestep itself          sigma                      the probe
====================== ============================ ========================== ======================================

See docs/notes/0006-host-sigmas.md.
"""

from __future__ import annotations

from typing import Any

import comfy.model_sampling as host
import torch
from comfy.model_base import ModelType
from torch import Tensor, nn

from ...samplers.contract import SamplingContract
from ...samplers.prediction import Prediction, own_noise, to_x0
from ...samplers.process import FLOW, VE, VP, NoiseProcess
from ...samplers.schedule import Schedule, shift_sigma
from ...samplers.timesteps import ddim_sigma, timesteps_at, to_float64, wan_timestep
from ...training_rules import TRAIN_TIMESTEPS

SAME_SIGMA = 1e-6
"""How far float32 may carry a level from the contract's."""


class TruncatedFlow(host.ModelSamplingDiscreteFlow, host.CONST):
    """The flow process as Wan samples it: x = (1 - s) x0 + s n, and an integer timestep, truncated, for the network.

    Args:
        shift: Of the levels that core's schedulers read from it; SIGMAS made elsewhere are taken as they are.
    """

    def __init__(self, shift: float = 1.0) -> None:
        super().__init__()
        self.set_parameters(shift=shift)

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return 0, 1, ... 1000 as float32 for sigma in [0, 1]."""
        return wan_timestep(sigma).to(device=sigma.device, dtype=torch.float32)


class ContractFlow(host.ModelSamplingDiscreteFlow, host.CONST):
    """The flow process, feeding the very timesteps of a schedule: 757 at 0.75676, 988 at 0.98765.

    At any other level the timestep is made as the schedule makes it.

    Args:
        schedule: The whole schedule of a contract.
        shift: Of the levels that core's schedulers read from it; SIGMAS made elsewhere are taken as they are.
        multiplier: Of a level, to make this network's timestep: 1000, or 1 for Qwen-Image and its kin.
    """

    def __init__(self, schedule: Schedule, shift: float, multiplier: float) -> None:
        super().__init__()
        self.set_parameters(shift=shift, multiplier=multiplier)
        self.schedule = schedule
        fed = torch.tensor([schedule.timestep_at(level) for level in schedule.sigma_values], dtype=torch.float64)
        self._tables = {torch.device("cpu"): (schedule.sigmas, fed)}  # by device, and no buffers: some have no float64

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return what training fed at each of the host's float32 sigmas, in the shape of ``sigma``.

        The nearest level of the schedule is looked up where sigma is, so that the host does not wait for it.
        """
        given = to_float64(sigma)
        levels, fed = self._find_tables(given.device)
        distance, nearest = (given.unsqueeze(-1) - levels).abs().min(dim=-1)
        others = timesteps_at(given, self.schedule.timestep_cast).double()
        timesteps = torch.where(distance <= SAME_SIGMA, fed[nearest], others) * (self.multiplier / TRAIN_TIMESTEPS)
        return timesteps.to(device=sigma.device, dtype=torch.float32)

    def _find_tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._tables:
            levels, fed = self._tables[torch.device("cpu")]
            self._tables[device] = levels.to(device), fed.to(device)
        return self._tables[device]


class LinearEpsilon(host.ModelSamplingDiscrete, host.EPS):
    """The DDIM process of the training preview: alpha_bar = 1 - t/1000 clamped to [0.001, 0.999], network = noise.

    The host's sigma is sqrt((1 - alpha_bar) / alpha_bar), 0.0316 at t = 0 to 31.6 at t = 999.
    """

    def __init__(self) -> None:
        super().__init__()
        self.set_sigmas(make_epsilon_sigmas())


class FixedSchedule(nn.Module):
    """One run's schedule: its own timesteps for the network, the output read in its own process.

    The host hands sigmas about as float32; here they are only names for the steps of the schedule, whose own numbers
    do the arithmetic. So a run in the host is the library's run, digit for digit.
    """

    sigmas: Tensor

    def __init__(self, schedule: Schedule, prediction: Prediction, shift: float) -> None:
        super().__init__()
        self.schedule = schedule
        self.prediction = prediction
        self.shift = shift
        self._last: tuple[Tensor, Tensor] | None = None
        fed = torch.tensor([schedule.timestep_at(level) for level in schedule.sigma_values[:-1]], dtype=torch.float32)
        self._tables = {torch.device("cpu"): (schedule.sigmas[:-1].float(), fed)}  # by device
        self._held: int | None = None
        # Schedulers and previews of other packs look for the host's table of sigmas, rising.
        self.register_buffer("sigmas", make_training_levels(schedule.process, shift), persistent=False)

    sigma_min = property(lambda self: self.sigmas[0])
    sigma_max = property(lambda self: self.sigmas[-1])

    def hold_sigma(self, sigma: float | None) -> None:
        """Say at which sigma the network is about to be called, so that its output is read without fetching it.

        Args:
            sigma: As the host has it; None after the call.
        """
        self._held = None if sigma is None else self._find_nearest(torch.tensor(sigma))

    def find_step(self, sigma: Tensor) -> int:
        """Return the step whose level is nearest to the host's sigma (one number, or one for each item)."""
        return self._find_nearest(sigma.reshape(-1)[0].float().cpu()) if self._held is None else self._held

    def _find_nearest(self, sigma: Tensor) -> int:
        return int((self._tables[torch.device("cpu")][0] - sigma).abs().argmin())

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return what training fed at the nearest level, 0..999 as float32, in the shape of ``sigma``.

        It is looked up where sigma is: core's nodes ask for other levels than the network's own in between.
        """
        if sigma.device not in self._tables:
            levels, fed = self._tables[torch.device("cpu")]
            self._tables[sigma.device] = levels.to(sigma.device), fed.to(sigma.device)
        levels, fed = self._tables[sigma.device]
        return fed[(sigma.float().unsqueeze(-1) - levels).abs().argmin(dim=-1)]

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return the latent as it is: the network takes it unscaled."""
        return noise

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """Return x0 from the network's output, both (b, c, t, h, w)."""
        level = self.schedule.sigma_values[self.find_step(sigma)]
        x0 = to_x0(model_output, model_input, level, self.prediction, self.schedule.process)
        noise = own_noise(model_output, model_input, self.prediction)
        self._last = None if noise is None else (x0, noise)
        return x0

    def take_noise(self, x: Tensor, x0: Tensor, sigma: float) -> Tensor | None:
        """Return the noise in ``x``: the network's own, or, where its ``x0`` has been changed, what x0 leaves of x.

        Which of the two is decided where they are. None where the network's output is not the noise.

        Args:
            x: The noisy latent (b, ...).
            x0: What the host made of the prediction: guidance, masks and hooks may have changed it.
            sigma: Of ``x``.
        """
        last, self._last = self._last, None
        if last is None or last[0].shape != x0.shape:
            return None
        rest = torch.sub(x, x0, alpha=self.schedule.process.alpha(sigma)).div_(sigma)
        return torch.where((last[0] == x0).all(), last[1], rest)

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Add noise to an image's latent up to ``sigma``: for masks, and for the start of an image-to-image run."""
        if max_denoise:
            return noise
        return self.schedule.process.add_noise(latent_image, noise, sigma.reshape(-1)[0])

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """Return the finished latent as it is."""
        return latent

    def sigma(self, timestep: Tensor) -> Tensor:
        """Return the level at a training timestep (any number in 0..999), for schedules made outside."""
        sigmas = self.sigmas.cpu()  # the host moves them with its model
        position = timestep.float().cpu().clamp(0, len(sigmas) - 1)
        low, high = sigmas[position.floor().long()], sigmas[position.ceil().long()]
        return torch.lerp(low, high, position.frac()).to(timestep.device)


class FixedFlowSchedule(FixedSchedule, host.CONST):
    """The same, known to the host's other nodes as a flow."""


class RawOutput(host.ModelSamplingDiscreteFlow, host.IMG_TO_IMG):
    """Leaves the network alone: "sigma" is its timestep, "x0" its output."""

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return ``sigma``, which the probe sets to the timestep."""
        return sigma


# Making and patching -------------------------------------------------------------------------------------------------


def make_model_sampling(contract: SamplingContract) -> nn.Module:
    """Return how core's own nodes see a student: in the process of its contract, a flow with the contract's shift."""
    return TruncatedFlow(contract.shift) if contract.process == FLOW else LinearEpsilon()


def make_contract_sampling(contract: SamplingContract, model: Any) -> nn.Module:
    """Return the ``model_sampling`` that feeds a MODEL what its contract says, in its network's own unit."""
    if contract.version == 1 or contract.process != FLOW:
        return make_model_sampling(contract)
    return ContractFlow(contract.schedule(), contract.shift, find_multiplier(model))


def find_multiplier(model: Any) -> float:
    """Return what the network of a flow MODEL takes sigma times: 1000, or 1 for Flux, Qwen-Image and their kin.

    It is the network's own, whatever sampling the MODEL is patched with: *ModelSamplingSD3* makes it 1000 for all.
    """
    if model.model.model_type is ModelType.FLUX:
        return 1.0
    return float(getattr(model.model.model_config, "sampling_settings", {}).get("multiplier", TRAIN_TIMESTEPS))


def make_fixed_schedule(schedule: Schedule, prediction: Prediction, shift: float) -> FixedSchedule:
    """Return the ``model_sampling`` of one run; one of the flow process is a flow for the host as well."""
    kind = FixedFlowSchedule if schedule.process is FLOW else FixedSchedule
    return kind(schedule, prediction, shift)


def patch_sampling(model: Any, model_sampling: nn.Module) -> Any:
    """Return a clone of ``model`` that samples with ``model_sampling``; the weights stay shared."""
    patched = model.clone()
    patched.add_object_patch("model_sampling", model_sampling)
    return patched


def make_epsilon_sigmas() -> Tensor:
    """Return the host's sigma of each training timestep, (1000,), float32, strictly rising.

    The clamp gives t = 0 and t = 1 one alpha_bar. They must stay two entries for the host's look-up by nearest sigma
    to find t = 1 again, so t = 1 is one float above t = 0 (6e-8 relative).
    """
    sigmas = VP.noise_ratio(ddim_sigma(torch.arange(TRAIN_TIMESTEPS))).float()
    sigmas[1] = torch.nextafter(sigmas[0], sigmas[2])
    return sigmas


def make_training_levels(process: NoiseProcess, shift: float) -> Tensor:
    """Return each training timestep's level, (1000,), rising: shifted for flow, else of alpha_bar = 1 - t/1000."""
    if process is FLOW:
        return shift_sigma(torch.arange(1, TRAIN_TIMESTEPS + 1) / TRAIN_TIMESTEPS, shift)
    return process.from_ratio(make_epsilon_sigmas())


# Reading -------------------------------------------------------------------------------------------------------------


def get_process(model_sampling: nn.Module) -> NoiseProcess:
    """Return FLOW (sigma in [0, 1]) or VE (x = x0 + sigma n, sigma up to 14.6 for SDXL) of a ``model_sampling``.

    The host's sigma of epsilon, v and EDM models is noise over signal whatever their ``sigma_data`` is: that number
    is in the input scaling and in the reading of the output, both of which the host does.

    Raises:
        ValueError: The MODEL has no noise process (image-to-image networks) or an unknown one.
    """
    without_noise = _find_host_kinds("IMG_TO_IMG", "IMG_TO_IMG_FLOW")
    if isinstance(model_sampling, host.CONST) and not isinstance(model_sampling, without_noise):
        return FLOW
    variance_exploding = _find_host_kinds("EPS", "V_PREDICTION_DDPM", "COSMOS_RFLOW")
    if isinstance(model_sampling, variance_exploding) and not isinstance(model_sampling, without_noise):
        return VE
    raise ValueError(
        f"model: its sampling is {format_sampling(model_sampling)}, but Wan Lite's solvers need a flow model (CONST) "
        "or an epsilon, v or EDM model. Use the sampler that this MODEL was made for."
    )


def to_host_process(process: NoiseProcess) -> NoiseProcess:
    """Return the process in which the host counts a student's noise: a flow as it is, all else as noise over signal."""
    return FLOW if process == FLOW else VE


def get_model_process(model: Any) -> NoiseProcess:
    """Return :func:`get_process` of a MODEL, with its patches."""
    return get_process(model.get_model_object("model_sampling"))


def find_fed_timesteps(model: Any, sigmas: Tensor) -> Tensor:
    """Return what a network is fed at sigmas (n,), as timesteps up to 1000 whatever its own unit is.

    Args:
        model: The MODEL; None is any of core's flow models, which are fed 1000 sigma in float32.
        sigmas: As the host hands them over, float32.
    """
    if model is None:
        return sigmas * TRAIN_TIMESTEPS
    fed: Tensor = model.get_model_object("model_sampling").timestep(sigmas).float()
    return fed * (TRAIN_TIMESTEPS / find_multiplier(model))


def format_sampling(model_sampling: nn.Module) -> str:
    """Name what a MODEL's sampling is made of, for messages: "ModelSamplingDiscrete + EPS"."""
    return " + ".join(base.__name__ for base in type(model_sampling).__bases__)


def _find_host_kinds(*names: str) -> tuple[type, ...]:
    """Return the kinds of sampling with these names that this host has; older ones lack the later kinds."""
    return tuple(getattr(host, name) for name in names if hasattr(host, name))


# SIGMAS --------------------------------------------------------------------------------------------------------------


def to_sigmas(schedule: Schedule) -> Tensor:
    """Return a schedule as SIGMAS of the process that :func:`make_model_sampling` gives the MODEL."""
    return to_flow_sigmas(schedule) if schedule.process is FLOW else to_ddim_sigmas(schedule)


def to_flow_sigmas(schedule: Schedule) -> Tensor:
    """Return a flow schedule as SIGMAS, (n + 1,) float32, from which training's truncated timesteps come back exactly.

    Rounding to float32 can carry a sigma over a thousandth; then the next float on the right side is taken (6e-8).
    """
    sigmas = schedule.sigmas.float()
    if schedule.timesteps is None or schedule.timestep_cast != "int64_trunc":
        return sigmas
    levels, wanted = sigmas[:-1].clone(), schedule.timesteps
    seen = wan_timestep(levels)
    levels = torch.where(seen > wanted, torch.nextafter(levels, torch.zeros_like(levels)), levels)
    levels = torch.where(seen < wanted, torch.nextafter(levels, torch.ones_like(levels)), levels)
    return torch.cat([levels, sigmas[-1:]])


def to_ddim_sigmas(schedule: Schedule, model: Any = None) -> Tensor:
    """Return a DDIM schedule as SIGMAS, (n + 1,) float32: noise over signal, at the levels of ``model`` if given.

    A flow MODEL gets sigma = t / 1000; its native shift is left out, because the schedule's own replaces it.
    """
    model_sampling = None if model is None else model.get_model_object("model_sampling")
    if model_sampling is None or isinstance(model_sampling, LinearEpsilon):
        return schedule.to_process(VE).sigmas.float()
    timesteps = schedule.timesteps
    assert timesteps is not None
    if get_process(model_sampling) is FLOW:
        levels = timesteps[timesteps > 0].float() / 1000.0
    else:
        levels = model_sampling.sigma(timesteps).float().cpu()
    return torch.cat([levels, levels.new_zeros(1)])
