"""The sampling contract: how a checkpoint wants to be sampled, as a small record. Files: see contract_files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from .ddim import DDIM
from .dpmpp import FlowDPMpp
from .schedule import LARGEST_SHIFT, MOST_STEPS, Schedule, ddim_schedule, dpmpp_schedule, flow_schedule
from .solver import Solver
from .unipc import FlowUniPC

__all__ = [
    "CONTRACT_KEY",
    "PRESETS",
    "ContractError",
    "ContractMismatch",
    "Mismatch",
    "SamplingContract",
    "compare",
    "modelspec",
]

CONTRACT_KEY = "wan_lite.sampling_contract"
VERSION = 1
_LARGEST_SIDE = 2**16  # of a latent; a damaged record must not ask for terabytes
_SOLVERS: dict[str, Callable[[], Solver]] = {"ddim": DDIM, "flow_unipc": FlowUniPC, "flow_dpmpp": FlowDPMpp}
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "solver": tuple(_SOLVERS),
    "prediction": ("epsilon", "velocity"),
    "num_train_timesteps": (1000,),
    "timestep_cast": ("int64_trunc",),
    "vae": ("wan2.1", "wan2.2"),
    "text_pool": ("mean_unpadded",),
    "output_projection": (True, False),
    "source": ("declared", "sidecar", "assumed"),
}


class ContractError(ValueError):
    """A contract that cannot be read or makes no sense, said in one sentence."""


class ContractMismatch(ValueError):
    """A sampling that is not what the checkpoint's contract says; each difference is one line of the message."""


def _check_version(version: object, origin: str = "contract") -> None:
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        remedy = "update Wan Lite" if newer else "stamp the checkpoint again"
        raise ContractError(f"{origin}: contract version is {version!r}, but this Wan Lite reads {VERSION}; {remedy}.")


def _latent(value: Any) -> tuple[int, int, int]:
    parts: Any = [value.get(name) for name in ("channels", "height", "width")] if isinstance(value, Mapping) else value
    good = isinstance(parts, list | tuple) and len(parts) == 3
    if not good or not all(type(part) is int and 0 < part <= _LARGEST_SIDE for part in parts):
        raise ContractError(
            f"contract: latent is {value!r}; give channels, height and width, whole numbers from 1 to {_LARGEST_SIDE}."
        )
    channels, height, width = map(int, parts)
    return channels, height, width


@dataclass(frozen=True)
class SamplingContract:
    """How a checkpoint wants to be sampled.

    Args:
        solver: "ddim", "flow_unipc" or "flow_dpmpp". prediction: how the output is read: "epsilon" in the DDIM process
            alpha^2 = 1 - t / 1000, "velocity" in the flow process x = (1 - s) x0 + s n.
        steps, shift, cfg: of the sampling that the checkpoint was judged by; cfg 1 is no guidance.
        num_train_timesteps, timestep_cast: the timesteps that training fed.
        latent: (channels, height, width) of the network's own latents, or None where unknown.
        vae: "wan2.1" or "wan2.2". text_pool: how text rows become one vector.
        output_projection: whether the finished latents go through a 1x1 convolution to the VAE's channels.
        source: "declared" (in the file), "sidecar" (beside it) or "assumed" (a preset that somebody named).

    Raises:
        ContractError: a field has a value that is not allowed, or the fields contradict each other.
    """

    solver: str
    prediction: str
    steps: int = 20
    shift: float = 1.0
    cfg: float = 1.0
    num_train_timesteps: int = 1000
    timestep_cast: str = "int64_trunc"
    latent: tuple[int, int, int] | None = None
    vae: str = "wan2.1"
    text_pool: str = "mean_unpadded"
    output_projection: bool = False
    source: str = "assumed"
    version: int = VERSION

    def __post_init__(self) -> None:
        _check_version(self.version)
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                choices = ", ".join(map(repr, allowed))
                raise ContractError(f"contract: {name} is {getattr(self, name)!r}; allowed: {choices}.")
        if self.solver != "ddim" and self.prediction == "epsilon":
            raise ContractError(
                f"contract: solver is '{self.solver}', which works in the flow process, but prediction is 'epsilon'; "
                "set solver to 'ddim' or prediction to 'velocity'."
            )
        if type(self.steps) is not int or not 1 <= self.steps <= MOST_STEPS:
            raise ContractError(f"contract: steps is {self.steps!r}; allowed are whole numbers from 1 to {MOST_STEPS}.")
        for name, least in (("shift", 0), ("cfg", -LARGEST_SHIFT)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least < value <= LARGEST_SHIFT:
                raise ContractError(
                    f"contract: {name} is {value!r}; allowed are numbers above {least:g} up to {LARGEST_SHIFT:g}."
                )
        if self.latent is not None:
            object.__setattr__(self, "latent", _latent(self.latent))

    def to_json(self) -> str:
        """Return the record as JSON text that :meth:`from_json` reads."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.latent is not None:
            content["latent"] = dict(zip(("channels", "height", "width"), self.latent, strict=True))
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str, *, origin: str = "contract", source: str | None = None) -> SamplingContract:
        """Return the record in ``text``.

        Args:
            origin: file name for messages. source: replaces the record's own; where it was found.

        Raises:
            ContractError: it is not JSON, of a newer version, lacks or has unknown fields, or a value is not allowed.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{origin}: the sampling contract is not JSON ({error}); stamp it again.") from None
        if not isinstance(content, dict):
            raise ContractError(
                f"{origin}: the sampling contract is {type(content).__name__}, not a table of fields; stamp it again."
            )
        _check_version(content.get("version"), origin)
        names = {field.name for field in fields(cls)}
        unknown, missing = sorted(set(content) - names), {"solver", "prediction"} - set(content)
        if unknown or missing:
            found = f"unknown fields {unknown}" if unknown else f"no {sorted(missing)}"
            raise ContractError(f"{origin}: the sampling contract has {found}; its fields are {sorted(names)}.")
        if source is not None:
            content["source"] = source
        try:
            return cls(**content)
        except ContractError as error:
            raise ContractError(f"{origin}: {error}") from None

    def schedule(self, *, denoise: float = 1.0) -> Schedule:
        """Return the contract's schedule, shift included; ``denoise`` below 1 keeps its end (image to image).

        The prediction names the process, and with it the schedule; only FlowDPM++ starts its flow schedule elsewhere.

        Raises:
            ValueError: denoise outside (0, 1].
        """
        flow = dpmpp_schedule if self.solver == "flow_dpmpp" else flow_schedule
        return (ddim_schedule if self.prediction == "epsilon" else flow)(self.steps, self.shift, denoise)

    def make_solver(self) -> Solver:
        """Return the contract's solver with the settings of training."""
        return _SOLVERS[self.solver]()


# "teacher A14B" takes the teacher's schedule. Its guidance (3 and 4, by expert) is not a student's, which has none.
PRESETS: dict[str, SamplingContract] = {
    "ddim-10 training preview": SamplingContract("ddim", "epsilon", steps=10),
    "ddim-20 run_inference": SamplingContract("ddim", "epsilon", steps=20),
    "flow_unipc-20 shift 5": SamplingContract("flow_unipc", "velocity", steps=20, shift=5.0),
    "flow_unipc-40 shift 12 (teacher A14B)": SamplingContract("flow_unipc", "velocity", steps=40, shift=12.0),
}


class Mismatch(NamedTuple):
    """One field in which a sampling differs from the contract; ``str()`` is the sentence with the remedy."""

    field: str
    declared: object
    requested: object
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.field}: the checkpoint's contract says {self.declared}, but {self.requested} was asked for. "
            f"{self.remedy}"
        )


_REMEDIES = {
    "solver": "Use the {0} sampler, or stamp the checkpoint with another contract.",
    "prediction": "Read the output as {0} ({process}), or stamp the checkpoint with another contract.",
    "shift": "Set shift to {0}, and take out any other node that shifts.",
    "num_train_timesteps": "Sample with timesteps out of {0}.",
    "timestep_cast": "Feed the timesteps as {0}.",
    "vae": "Load the {0} VAE.",
    "text_pool": "Pool the text as {0}.",
    "output_projection": "Load the checkpoint together with the output_proj that its contract speaks of.",
    "latent": "Give latents of {0} channels.",
}


def compare(contract: SamplingContract, requested: SamplingContract) -> list[Mismatch]:
    """Return the differences that change what the checkpoint paints from what training meant; empty when none.

    Steps, guidance and the picture's size are the user's to choose and are not compared; of the latent only the
    channels are, where both are known.
    """
    pairs = {name: (getattr(contract, name), getattr(requested, name)) for name in _REMEDIES}
    pairs["latent"] = tuple(side and side[0] for side in pairs["latent"])
    if None in pairs["latent"]:
        del pairs["latent"]
    process = "the DDIM process" if contract.prediction == "epsilon" else "the flow process"
    return [
        Mismatch(name, declared, asked, _REMEDIES[name].format(declared, process=process))
        for name, (declared, asked) in pairs.items()
        if not (declared == asked or (name == "shift" and math.isclose(declared, asked, rel_tol=1e-6)))
    ]


def modelspec(contract: SamplingContract) -> dict[str, str]:
    """Return the ModelSpec header keys that follow from a contract (models that sample differently differ in name)."""
    return {
        "modelspec.architecture": f"wan-lite-student-{contract.solver}-{contract.prediction}",
        "modelspec.prediction_type": contract.prediction,
    }
