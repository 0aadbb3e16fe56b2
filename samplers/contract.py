"""The sampling contract: how a checkpoint wants to be sampled, as a small record that travels with it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from .ddim import DDIM
from .dpmpp import FlowDPMpp
from .header import read_header, rewrite_header
from .schedule import Schedule, ddim_schedule, dpmpp_schedule, flow_schedule
from .sidecar import scheduler_fields
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
    "read_contract",
    "stamp",
]

CONTRACT_KEY = "wan_lite.sampling_contract"
CONTRACT_NAME = "sampling_contract.json"
VERSION = 1
_WEIGHT_NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_model.safetensors", "model.safetensors")
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "solver": ("ddim", "flow_unipc", "flow_dpmpp"),
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
    if not good or not all(type(part) is int and part > 0 for part in parts):
        raise ContractError(f"contract: latent is {value!r}; give channels, height and width, whole numbers from 1.")
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
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ContractError(f"contract: steps is {self.steps!r}; allowed are whole numbers from 1.")
        for name, least in (("shift", 0.0), ("cfg", -math.inf)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least < value < math.inf:
                raise ContractError(f"contract: {name} is {value!r}; allowed are finite numbers above {least:g}.")
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
        except ValueError as error:
            raise ContractError(f"{origin}: the sampling contract is not JSON ({error}); stamp it again.") from None
        if not isinstance(content, dict):
            raise ContractError(f"{origin}: the sampling contract is {type(content).__name__}, not a table of fields.")
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
        """Return the contract's schedule, shift included; ``denoise`` below 1 keeps its end (image to image)."""
        make = ddim_schedule if self.prediction == "epsilon" else flow_schedule
        if self.solver == "flow_dpmpp":
            make = dpmpp_schedule
        return make(self.steps, self.shift, denoise)

    def make_solver(self) -> Solver:
        """Return the contract's solver with the settings of training."""
        return {"ddim": DDIM, "flow_unipc": FlowUniPC, "flow_dpmpp": FlowDPMpp}[self.solver]()


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


def read_contract(path: str | os.PathLike[str]) -> SamplingContract | None:
    """Return the contract of a checkpoint file or folder, or None where nothing says how to sample it.

    In this order: the safetensors header; ``sampling_contract.json`` in the folder (beside a single file:
    ``<name>.sampling_contract.json``); diffusers' ``scheduler/scheduler_config.json`` or ``scheduler_config.json``.

    Raises:
        ContractError: there is one, but it cannot be read or cannot be followed.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent if path.name in _WEIGHT_NAMES else None
    weights = _weights(path)
    if weights is not None and weights.suffix == ".safetensors" and weights.is_file():
        try:
            text = read_header(weights).get(CONTRACT_KEY)
        except ValueError as error:
            raise ContractError(str(error)) from None
        if text is not None:
            return SamplingContract.from_json(text, origin=weights.name, source="declared")
    own = path.with_name(f"{path.stem}.{CONTRACT_NAME}") if folder is None else folder / CONTRACT_NAME
    if own.is_file():
        return SamplingContract.from_json(own.read_text("utf-8"), origin=own.name, source="sidecar")
    configs = [] if folder is None else [folder / "scheduler/scheduler_config.json", folder / "scheduler_config.json"]
    config = next((file for file in configs if file.is_file()), None)
    if config is None:
        return None
    try:
        return SamplingContract(**scheduler_fields(config), source="sidecar")
    except ValueError as error:
        raise ContractError(str(error)) from None


def stamp(path: str | os.PathLike[str], contract: SamplingContract) -> Path:
    """Write ``contract`` into the header of a safetensors file (or of the one in a student's folder).

    Only the header changes: the tensors' bytes are copied as they are, and the file is replaced in one move.

    Returns:
        The file that was written.

    Raises:
        ContractError: there is no safetensors file at ``path``, or it is damaged.
    """
    weights = _weights(Path(path))
    if weights is None or weights.suffix != ".safetensors" or not weights.is_file():
        raise ContractError(
            f"{Path(path).name}: is no .safetensors file and holds none of {', '.join(_WEIGHT_NAMES)}; a contract can "
            "only be stamped into safetensors."
        )
    entries = {CONTRACT_KEY: replace(contract, source="declared").to_json(), **modelspec(contract)}
    try:
        rewrite_header(weights, entries)
    except ValueError as error:
        raise ContractError(str(error)) from None
    return weights


def modelspec(contract: SamplingContract) -> dict[str, str]:
    """Return the ModelSpec header keys that follow from a contract (models that sample differently differ in name)."""
    return {
        "modelspec.architecture": f"wan-lite-student-{contract.solver}-{contract.prediction}",
        "modelspec.prediction_type": contract.prediction,
    }


def _weights(path: Path) -> Path | None:
    if not path.is_dir():
        return path
    return next((path / name for name in _WEIGHT_NAMES if (path / name).is_file()), None)
