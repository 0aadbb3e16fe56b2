"""The sampling contract: how a checkpoint wants to be sampled, as a small record. Its files: models/contract_files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from ..training_rules import TRAIN_TIMESTEPS
from .contract_fields import (
    RULES,
    VERSION_1_FIELDS,
    Causal,
    ContractError,
    check_record,
    check_schedule,
    parse_latent,
    uses_version_2,
)
from .few_step import explicit_schedule, few_step_schedule, to_timesteps, trigflow_schedule
from .noise import Seed
from .prediction import Prediction
from .process import NoiseProcess
from .schedule import Schedule
from .solver import Solver
from .solvers import SOLVERS

__all__ = ["CHANGES_KEY", "CONTRACT_KEY", "PRESETS", "Causal", "ContractError", "SamplingContract", "modelspec"]

CONTRACT_KEY = "wan_lite.sampling_contract"
CHANGES_KEY = "wan_lite.contract_changes"
"""In an image, beside the contract: what its run changed of the checkpoint's own."""
VERSIONS = (1, 2)
_USUAL_STEPS = 20
_RULE_FIELDS = (*RULES, "warp", "timesteps", "boundary", "boundary_step", "alternatives")


@dataclass(frozen=True)
class SamplingContract:
    """How a checkpoint, or a LoRA, wants to be sampled.

    The sigmas follow from one rule: ``denoising_steps``, ``sigma_max`` or ``levels`` where one of them is given, else
    ``steps`` and ``shift`` by the solver's own schedule. The fields from ``denoising_steps`` on, and the solvers,
    casts, pools and VAEs that version 1 of the file format has no word for, make a file of version 2; whatever can be
    said in version 1 is written in version 1.

    Args:
        solver: A name in ``SOLVERS``: "ddim", "flow_unipc", "flow_dpmpp", "flow_euler" (deterministic) or "renoise"
            (fresh noise of full weight at each sigma).
        prediction: How the output is read: "epsilon" in the DDIM process alpha^2 = 1 - t / 1000, "velocity" in the
            flow process x = (1 - s) x0 + s n. Given as a string it becomes the enum.
        steps: How many times the network is called. None takes the number of ``denoising_steps`` or ``levels``, or 20.
        shift: Of the schedule, or of the table that ``denoising_steps`` are looked up in.
        cfg: Guidance; 1 is none, and no negative pass.
        num_train_timesteps: 1000.
        timestep_cast: What the network is fed at each sigma: 1000 * sigma as "int64_trunc", "float" or "bf16", or
            "table": the ``timesteps``, or without them the ``denoising_steps`` as they are.
        latent: (channels, height, width) of the network's own latents, or None where unknown.
        vae: "wan2.1", "wan2.2" or "qwen-image".
        text_pool: How a small student's token embeddings become one vector: the mean over the prompt's own tokens
            ("mean_unpadded") or over ``text_length`` padded ones ("mean_padded").
        output_projection: Whether the finished latents go through a 1x1 convolution to the VAE's channels.
        source: "declared" (in the file), "sidecar" (beside it), "recognised" (by the name of a known student's file)
            or "assumed" (a preset that somebody named).
        denoising_steps: Whole numbers from 1000 to 0, falling; see :func:`few_step_schedule`.
        warp: Whether ``shift`` moves them too; False takes them for the timesteps themselves.
        sigma_max: Of a TrigFlow student with ``steps`` from 1 to 4; see :func:`trigflow_schedule`.
        levels: The sigmas themselves, from at most 1 down, falling, without the final 0.
        timesteps: The table of what is fed at each sigma; needs ``timestep_cast`` "table".
        boundary: Of two experts: the high-noise one runs while the timestep is at least 1000 times this.
        boundary_step: The same as the index of the low-noise expert's first step; at most one of the two is given.
        role: Which expert this file is: "high", "low" or "both"; None where there are no two.
        alternatives: Other complete contracts that are legitimate for the same file.
        frames: Of the videos seen in training, in pixels' frames.
        lora_strength: At which a LoRA was trained.
        causal: Block length and context timestep of a causal student.
        text_length: The number of tokens that prompts were padded to, where ``text_pool`` is "mean_padded".

    Raises:
        ContractError: A field has a value that is not allowed, or the fields contradict each other.
    """

    solver: str
    prediction: Prediction
    steps: int = field(default=None)  # type: ignore[assignment] # filled in below, so that it is always a number
    shift: float = 1.0
    cfg: float = 1.0
    num_train_timesteps: int = 1000
    timestep_cast: str = "int64_trunc"
    latent: tuple[int, int, int] | None = None
    vae: str = "wan2.1"
    text_pool: str = "mean_unpadded"
    output_projection: bool = False
    source: str = "assumed"
    denoising_steps: tuple[int, ...] | None = None
    warp: bool = True
    sigma_max: float | None = None
    levels: tuple[float, ...] | None = None
    timesteps: tuple[float, ...] | None = None
    boundary: float | None = None
    boundary_step: int | None = None
    role: str | None = None
    alternatives: tuple[SamplingContract, ...] = ()
    frames: int | None = None
    lora_strength: float | None = None
    causal: Causal | None = None
    text_length: int | None = None

    def __post_init__(self) -> None:
        self._normalise()
        check_record(self)
        object.__setattr__(self, "prediction", Prediction(self.prediction))
        if self.version == 2:
            try:
                schedule = self._make_whole_schedule()
            except ContractError:
                raise
            except ValueError as error:
                raise ContractError(f"contract: {error}") from None
            check_schedule(self, schedule)

    def _normalise(self) -> None:
        """Bring what files hold as lists and objects, and what is left out, to the types of the fields."""
        values: dict[str, Any] = {}
        for name in ("denoising_steps", "levels", "timesteps", "alternatives"):
            if isinstance(getattr(self, name), list):
                values[name] = tuple(getattr(self, name))
        if isinstance(self.causal, Mapping):
            values["causal"] = _make_causal(self.causal)
        if self.latent is not None:
            values["latent"] = parse_latent(self.latent)
        if self.steps is None:
            named = self.denoising_steps if self.denoising_steps is not None else self.levels
            values["steps"] = (isinstance(named, list | tuple) and len(named)) or _USUAL_STEPS
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def version(self) -> int:
        """The version of the file format that this is written in: the first that has a word for all of it."""
        return 2 if uses_version_2(self, _LATER_DEFAULTS) else 1

    @property
    def process(self) -> NoiseProcess:
        """The noise process in which the output is read."""
        return self.prediction.process

    @property
    def has_fixed_sigmas(self) -> bool:
        """Whether a rule or a list names the very sigmas of training, so that no others are right."""
        return self.denoising_steps is not None or self.sigma_max is not None or self.levels is not None

    @property
    def expert_boundary(self) -> float | None:
        """The boundary between two experts, 0 to 1, as in ``boundary``, or None where nothing is said.

        A ``boundary_step`` becomes the middle between the timesteps before and after it.
        """
        if self.boundary_step is None:
            return self.boundary
        fed = self._make_whole_schedule().timesteps
        assert fed is not None
        before, after = fed[self.boundary_step - 1 : self.boundary_step + 1].tolist()
        return float(before + after) / 2 / TRAIN_TIMESTEPS

    def schedule(self, *, denoise: float = 1.0) -> Schedule:
        """Return the contract's schedule, shift included; ``denoise`` below 1 keeps its end (image to image).

        Where training had its very own sigmas, only those are kept; otherwise the end of a longer schedule.

        Args:
            denoise: In (0, 1].

        Raises:
            ValueError: Denoise outside (0, 1].
        """
        if self.has_fixed_sigmas or self.timesteps is not None:
            return self._make_whole_schedule().keep_end(denoise)
        return self._make_plain_schedule(denoise)

    def make_solver(self, seed: Seed = 0) -> Solver:
        """Return the contract's solver with the settings of training.

        Args:
            seed: Of the noise that the solver adds, where it adds any.
        """
        solver = SOLVERS[self.solver]()
        return replace(solver, seed=seed) if hasattr(solver, "seed") else solver  # type: ignore[type-var]

    def with_steps(self, steps: int) -> SamplingContract:
        """Return the contract with another number of steps, by the same rule where it allows one.

        Denoising steps that are warped become evenly spaced ones (what ComfyUI's ``simple`` makes); a TrigFlow student
        takes fewer of its angles. A table of timesteps and the alternatives belong to the old number.

        Args:
            steps: Of the new contract.

        Raises:
            ContractError: The sigmas are a list that no rule goes with, or the number is not allowed.
        """
        if steps == self.steps:
            return self
        changes: dict[str, Any] = {"steps": steps, "alternatives": ()}
        if self.levels is not None or self.timesteps is not None or not self.warp:
            raise ContractError(
                f"contract: steps is {steps}, but the {self.steps} steps of training are a list that has no rule for "
                f"another number; leave it at {self.steps}."
            )
        if self.denoising_steps is not None and type(steps) is int and 1 <= steps <= TRAIN_TIMESTEPS:
            changes["denoising_steps"] = [TRAIN_TIMESTEPS - TRAIN_TIMESTEPS * k // steps for k in range(steps)]
        if self.boundary_step is not None:
            changes |= {"boundary": self.expert_boundary, "boundary_step": None}
        return replace(self, **changes)

    def with_changes(self, *, steps: int | None = None, **changes: Any) -> SamplingContract:
        """Return the contract with other values of some fields, and with another number of steps by its own rule.

        Args:
            steps: See :meth:`with_steps`; None leaves them.
            changes: Fields and their values.

        Raises:
            ContractError: The result is not a contract.
        """
        return replace(self if steps is None else self.with_steps(steps), **changes)

    def with_plain_schedule(self, **changes: Any) -> SamplingContract:
        """Return the contract with ``steps`` and ``shift`` as the rule and truncated timesteps, as another solver asks.

        What belongs to the sigmas of training (their rule, table, boundary and alternatives) is left out.

        Args:
            changes: Fields and their values: the solver, prediction, steps and shift that are asked for.

        Raises:
            ContractError: The result is not a contract.
        """
        return replace(self, **{**_PLAIN, **changes})

    def _make_whole_schedule(self) -> Schedule:
        if self.denoising_steps is not None:
            schedule = few_step_schedule(
                self.denoising_steps, shift=self.shift, warp=self.warp, timestep_cast=self.timestep_cast
            )
        elif self.sigma_max is not None:
            schedule = trigflow_schedule(self.steps, sigma_max=self.sigma_max, timestep_cast=self._cast)
        elif self.levels is not None:
            schedule = explicit_schedule(self.levels, timestep_cast=self._cast)
        else:
            schedule = self._make_plain_schedule(1.0)
        if self.timesteps is None:
            return schedule
        check_schedule(self, schedule)
        return replace(schedule, timesteps=to_timesteps(self.timesteps), timestep_cast="table")

    @property
    def _cast(self) -> str:
        """How a rule that has no table of its own makes timesteps, until ``timesteps`` replace them."""
        return "float" if self.timestep_cast == "table" else self.timestep_cast

    def _make_plain_schedule(self, denoise: float) -> Schedule:
        make = SOLVERS[self.solver].schedules[self.process].make
        schedule = make(self.steps, shift=self.shift, denoise=denoise)
        return schedule if self.timestep_cast in ("int64_trunc", "table") else schedule.recast(self.timestep_cast)

    def to_json(self) -> str:
        """Return the record as JSON text that :meth:`from_json` reads, in the first version that has words for it."""
        return json.dumps({**self.to_fields(), "version": self.version})

    def to_fields(self) -> dict[str, Any]:
        """Return what :meth:`to_json` writes as text, without the version."""
        content: dict[str, Any] = {name: getattr(self, name) for name in VERSION_1_FIELDS}
        if self.latent is not None:
            content["latent"] = dict(zip(("channels", "height", "width"), self.latent, strict=True))
        content |= {name: value for name in _LATER_DEFAULTS if (value := getattr(self, name)) != _LATER_DEFAULTS[name]}
        if self.denoising_steps is not None:
            content["warp"] = self.warp
        if self.causal is not None:
            content["causal"] = {"block": self.causal.block, "context_timestep": self.causal.context_timestep}
        if self.alternatives:
            content["alternatives"] = [other.to_fields() for other in self.alternatives]
        return content

    @classmethod
    def from_json(cls, text: str, *, origin: str = "contract", source: str | None = None) -> SamplingContract:
        """Return the record in ``text``.

        Args:
            text: A JSON object, of version 1 or 2.
            origin: File name for messages.
            source: Replaces the record's own; where it was found.

        Raises:
            ContractError: It is not JSON, of a newer version, lacks or has unknown fields, or a value is not allowed.
        """
        content = _parse_object(text, origin)
        version = _pop_version(content, origin)
        try:
            return cls._from_fields(content, version, source)
        except ContractError as error:
            raise ContractError(f"{origin}: {str(error).removeprefix('contract: ')}") from None

    @classmethod
    def _from_fields(cls, content: Mapping[str, Any], version: int, source: str | None) -> SamplingContract:
        names = VERSION_1_FIELDS if version == 1 else tuple(field.name for field in fields(cls))
        said = {name for name, value in content.items() if value is not None}
        unknown, missing = sorted(set(content) - set(names)), {"solver", "prediction"} - said
        if unknown or missing:
            found = f"unknown fields {unknown}" if unknown else f"no {sorted(missing)}"
            raise ContractError(f"the sampling contract has {found}; version {version} has {sorted(names)}.")
        values = {name: value for name, value in content.items() if version == 1 or value is not None}
        if source is not None:
            values["source"] = source
        if "alternatives" in values:
            values["alternatives"] = cls._parse_alternatives(values["alternatives"], values.get("source"))
        contract = cls(**values)
        if contract.version > version:
            raise ContractError(f"the sampling contract says version {version}, but has words of version 2; say 2.")
        return contract

    @classmethod
    def _parse_alternatives(cls, entries: Any, source: str | None) -> tuple[SamplingContract, ...]:
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ContractError("contract: alternatives is not a list of objects; give complete contracts in it.")
        if any(entry.get("alternatives") for entry in entries):
            raise ContractError("contract: an alternative has alternatives of its own; give it without alternatives.")
        return tuple(cls._from_fields(entry, 2, source) for entry in entries)


_LATER_DEFAULTS = {
    field.name: field.default
    for field in fields(SamplingContract)
    if field.name not in VERSION_1_FIELDS and field.default is not MISSING
}
"""The fields that version 1 has not, with the values that say nothing."""


_PLAIN = {name: _LATER_DEFAULTS[name] for name in _RULE_FIELDS} | {"timestep_cast": "int64_trunc"}


def _parse_object(text: str, origin: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{origin}: the sampling contract is not JSON ({error}); stamp it again.") from None
    if not isinstance(content, dict):
        raise ContractError(
            f"{origin}: the sampling contract is {type(content).__name__}, not an object of fields; stamp it again."
        )
    return content


def _pop_version(content: dict[str, Any], origin: str) -> int:
    version = content.pop("version", None)
    if type(version) is int and version in VERSIONS:
        return version
    newer = isinstance(version, int) and version > VERSIONS[-1]
    remedy = "update Wan Lite" if newer else "stamp the checkpoint again"
    read = " and ".join(map(str, VERSIONS))
    raise ContractError(f"{origin}: contract version is {version!r}, but this Wan Lite reads {read}; {remedy}.")


def _make_causal(content: Mapping[str, Any]) -> Causal:
    names = {field.name for field in fields(Causal)}
    if not {"block"} <= set(content) <= names:
        raise ContractError(f"contract: causal has {sorted(content)}; give {sorted(names)}.")
    return Causal(**content)


# "teacher A14B" takes the teacher's schedule. Its guidance (3 and 4, by expert) is not a student's, which has none.
PRESETS: dict[str, SamplingContract] = {
    "ddim-10 training preview": SamplingContract("ddim", Prediction.EPSILON, steps=10),
    "ddim-20 run_inference": SamplingContract("ddim", Prediction.EPSILON, steps=20),
    "flow_unipc-20 shift 5": SamplingContract("flow_unipc", Prediction.VELOCITY, steps=20, shift=5.0),
    "flow_unipc-40 shift 12 (teacher A14B)": SamplingContract("flow_unipc", Prediction.VELOCITY, steps=40, shift=12.0),
}
"""Ways of sampling by the names that the nodes and the command line give them, all marked as assumed."""


def modelspec(contract: SamplingContract) -> dict[str, str]:
    """Return the ModelSpec header keys that follow from a contract (models that sample differently differ in name)."""
    return {
        "modelspec.architecture": f"wan-lite-student-{contract.solver}-{contract.prediction}",
        "modelspec.prediction_type": contract.prediction.value,
    }
