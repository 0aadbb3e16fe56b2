"""Which noise process a MODEL of the host runs in, and the two processes that Wan students are trained in.

The host hands a sampler ``model(x, sigma) -> x0`` and keeps what a network eats (its input scaling and its timestep)
inside the MODEL's ``model_sampling``. So a solver needs only the process, and parity with training needs only a
``model_sampling`` whose ``timestep`` returns what training fed. See docs/notes/0006-host-sigmas.md.
"""

from __future__ import annotations

from typing import Any

import comfy.model_sampling as host
import torch

from ...samplers.process import FLOW, VE, VP, NoiseProcess
from ...samplers.schedule import TRAIN_TIMESTEPS, ddim_sigma, wan_timestep


class TruncatedFlow(host.ModelSamplingDiscreteFlow, host.CONST):
    """The flow process as Wan samples it: x = (1 - s) x0 + s n, and an integer timestep, truncated, for the network.

    It carries no shift of its own: the shift is in the SIGMAS.
    """

    def timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        """Sigma in [0, 1] -> 0, 1, ... 1000 as float32. On the CPU, because float64 does not exist on every device."""
        return wan_timestep(sigma.cpu()).to(device=sigma.device, dtype=torch.float32)


class LinearEpsilon(host.ModelSamplingDiscrete, host.EPS):
    """The DDIM process of the training preview: alpha_bar = 1 - t/1000 clamped to [0.001, 0.999], network = noise.

    The host's sigma is sqrt((1 - alpha_bar) / alpha_bar), 0.0316 at t = 0 to 31.6 at t = 999.
    """

    def __init__(self) -> None:
        super().__init__()
        self.set_sigmas(linear_epsilon_sigmas())


def linear_epsilon_sigmas() -> torch.Tensor:
    """The host's sigma of each training timestep, (1000,), float32, strictly rising.

    The clamp gives t = 0 and t = 1 one alpha_bar. They must stay two entries for the host's look-up by nearest sigma
    to find t = 1 again, so t = 1 is one float above t = 0 (6e-8 relative).
    """
    sigmas = VP.noise_ratio(ddim_sigma(torch.arange(TRAIN_TIMESTEPS))).float()
    sigmas[1] = torch.nextafter(sigmas[0], sigmas[2])
    return sigmas


def _host_kinds(*names: str) -> tuple[type, ...]:
    """The kinds of sampling with these names that this host has; older ones lack the later kinds."""
    return tuple(getattr(host, name) for name in names if hasattr(host, name))


def noise_process(model_sampling: torch.nn.Module) -> NoiseProcess:
    """FLOW (sigma in [0, 1]) or VE (x = x0 + sigma n, sigma up to 14.6 for SDXL) from the MODEL's ``model_sampling``.

    The host's sigma of epsilon, v and EDM models is noise over signal whatever their ``sigma_data`` is: that number
    is in the input scaling and in the reading of the output, both of which the host does.

    Raises: ValueError for a MODEL without a noise process (image-to-image networks) or with an unknown one.
    """
    without_noise = _host_kinds("IMG_TO_IMG", "IMG_TO_IMG_FLOW")
    if isinstance(model_sampling, host.CONST) and not isinstance(model_sampling, without_noise):
        return FLOW
    variance_exploding = _host_kinds("EPS", "V_PREDICTION_DDPM", "COSMOS_RFLOW")
    if isinstance(model_sampling, variance_exploding) and not isinstance(model_sampling, without_noise):
        return VE
    raise ValueError(
        f"model: its sampling is {sampling_name(model_sampling)}, but Wan Lite's solvers need a flow model (CONST) or "
        "an epsilon, v or EDM model. Use the sampler that this MODEL was made for."
    )


def sampling_name(model_sampling: torch.nn.Module) -> str:
    """What a MODEL's sampling is made of, for messages: "ModelSamplingDiscrete + EPS"."""
    return " + ".join(base.__name__ for base in type(model_sampling).__bases__)


def model_noise_process(model: Any) -> NoiseProcess:
    """:func:`noise_process` of a MODEL, with its patches."""
    return noise_process(model.get_model_object("model_sampling"))


def with_sampling(model: Any, model_sampling: torch.nn.Module) -> Any:
    """A clone of ``model`` that samples with ``model_sampling``; the weights stay shared."""
    patched = model.clone()
    patched.add_object_patch("model_sampling", model_sampling)
    return patched


def with_process(model: Any, process: NoiseProcess) -> Any:
    """A clone of ``model`` in the training process: :class:`TruncatedFlow` or :class:`LinearEpsilon`."""
    return with_sampling(model, TruncatedFlow() if process is FLOW else LinearEpsilon())
