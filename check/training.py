"""How a file's student was trained to be sampled: levels, timesteps, update, guidance, from its contract's fields.

The arithmetic is that of :mod:`wan_lite.samplers`, without torch, so that a check starts at once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..models.known_students import KnownStudent, KnownStudents
from ..training_rules import DDIM_CLAMP, TRIGFLOW_ANGLES, WAN_FIRST_SIGMA, apply_shift, is_high_noise
from .levels.sampling import DiscreteFlow, Float32, to_float32
from .levels.schedulers import UnknownLevels, schedule_levels
from .trace.models import LoadedFile

__all__ = ["Training", "find_trainings", "make_declared_training", "trained_levels"]

STARTS = dict.fromkeys(("flow_unipc", "ddim"), WAN_FIRST_SIGMA)
"""First levels before the shift, of the solvers that do not start at 1 in the flow process."""


@dataclass(frozen=True)
class Training:
    """One way in which a file was trained to be sampled.

    Attributes:
        title: Of the student.
        family: Id of the known student, or the file's name where the file itself declares a contract.
        origin: "recognised" (by name), "declared" (in the header), "sidecar" or "assumed".
        file: The checkpoint or LoRA.
        role: "high" or "low" where the file is one of two experts.
        levels: Noisiest first, without the final 0.
        timesteps: What the network was fed at each.
        fields: The contract's own fields.
        core: Sampler, scheduler, steps, shift and switch of ComfyUI's own that are exact, where there are any.
        source: Where it was read.
        why: What makes this one of several ways.
    """

    title: str
    family: str
    origin: str
    file: LoadedFile
    role: str | None
    levels: tuple[float, ...]
    timesteps: tuple[float, ...]
    fields: Mapping[str, Any]
    core: Mapping[str, Any]
    source: str = ""
    why: str = ""

    @property
    def solver(self) -> str:
        """The solver's name in the contract."""
        return str(self.fields.get("solver", ""))

    @property
    def is_few_step(self) -> bool:
        """Whether it was trained at a handful of levels; other contracts leave the number of steps to the user."""
        return self.origin == "recognised" or bool({"denoising_steps", "levels", "sigma_max"} & set(self.fields))

    @property
    def boundary(self) -> tuple[float, float] | None:
        """Return (lowest level of the high expert, first level of the low expert), equal where training had a number.

        A contract with ``boundary`` gives that level twice; one with ``boundary_step`` the trained levels around it.
        """
        if "boundary" in self.fields:
            return float(self.fields["boundary"]), float(self.fields["boundary"])
        step = self.fields.get("boundary_step")
        return (self.levels[step - 1], self.levels[step]) if step and 0 < step < len(self.levels) else None

    def timesteps_at(self, levels: Iterable[float]) -> list[float]:
        """Return what training fed at these of its levels."""
        fed = dict(zip(self.levels, self.timesteps, strict=True))
        return [fed[level] for level in levels]

    def levels_of(self, roles: set[str | None]) -> list[float]:
        """Return the levels that were trained for these experts; all where one of them is not known as either."""
        if self.boundary is None or not roles <= {"high", "low"} or roles == {"high", "low"}:
            return list(self.levels)
        steps = self._count_high_steps()
        return list(self.levels[:steps] if "high" in roles else self.levels[steps:])

    def _count_high_steps(self) -> int:
        """Return how many steps the high-noise expert takes; of a boundary, as the fed timestep decides."""
        if "boundary" not in self.fields:
            return int(self.fields["boundary_step"])
        return sum(is_high_noise(timestep, float(self.fields["boundary"])) for timestep in self.timesteps)


def make_declared_training(file: LoadedFile, fields: Mapping[str, Any], origin: str) -> Training:
    """Return the training that a file's own contract tells."""
    levels, timesteps = trained_levels(fields)
    role = fields.get("role") if fields.get("role") in ("high", "low") else None
    return Training(
        title=f"the contract of {file.name}",
        family=file.name,
        origin=origin,
        file=file,
        role=role,
        levels=tuple(levels),
        timesteps=tuple(timesteps),
        fields=fields,
        core=find_core(fields, levels),
        source=f"{file.name} ({origin})",
    )


def find_core(fields: Mapping[str, Any], levels: list[float]) -> dict[str, Any]:
    """Return the settings of core's own nodes that visit these levels, or nothing where there are none."""
    sampler = {"renoise": "lcm", "flow_euler": "euler"}.get(str(fields.get("solver")))
    if sampler is None:
        return {}
    if "denoising_steps" in fields and fields.get("warp", True):
        shift = float(fields.get("shift", 1.0))
        simple = schedule_levels("simple", len(levels), DiscreteFlow(shift))[:-1]
        if max(abs(a - b) for a, b in zip(simple, levels, strict=True)) < 1e-6:
            return {"sampler": sampler, "scheduler": "simple", "steps": len(levels), "shift": shift}
    return {"sampler": sampler, "scheduler": "manual"}


def find_trainings(file: LoadedFile, students: KnownStudents) -> list[list[Training]]:
    """Return the ways in which a file may have been trained: a list for each student that its name may mean."""
    found = students.recognise(file.name)
    return [list(_list_ways(student, found.role, file)) for student in found.students if student.fields is not None]


def _list_ways(student: KnownStudent, role: str | None, file: LoadedFile) -> Iterator[Training]:
    assert student.fields is not None
    changes = [({}, ""), *((other.changes, other.why) for other in student.alternatives)]
    for changed, why in changes:
        fields = {key: value for key, value in {**student.fields, **changed}.items() if value is not None}
        levels, timesteps = trained_levels(fields)
        yield Training(
            title=student.title,
            family=student.id,
            origin="recognised",
            file=file,
            role=role,
            levels=tuple(levels),
            timesteps=tuple(timesteps),
            fields=fields,
            core=student.core or {},
            source="; ".join(map(str, student.sources[:2])),
            why=why,
        )


def trained_levels(fields: Mapping[str, Any], total: int | None = None) -> tuple[list[float], list[float]]:
    """Return the levels of a contract in its JSON form, without the final 0, and the timesteps fed at them.

    They are levels as SIGMAS hold them: of the epsilon process, noise over signal.

    Args:
        fields: Of the contract.
        total: Steps of a longer run of which the contract's are the last; where ``steps`` and ``shift`` are the rule.

    Raises:
        UnknownLevels: The samplers refuse the contract.
    """
    cast = str(fields.get("timestep_cast", "int64_trunc"))
    steps, shift = _read_rule(fields)
    if "levels" in fields:
        levels = [float(level) for level in fields["levels"]]
        fed = [_cast_level(level, cast) for level in levels]
    elif "sigma_max" in fields:
        if not 1 <= steps <= len(TRIGFLOW_ANGLES) + 1:
            raise UnknownLevels(f"a schedule with sigma_max has 1 to {len(TRIGFLOW_ANGLES) + 1} steps, not {steps}")
        angles = [math.atan(float(fields["sigma_max"])), *TRIGFLOW_ANGLES[: steps - 1]]
        levels = [math.sin(angle) / (math.cos(angle) + math.sin(angle)) for angle in angles]
        fed = [_cast_level(level, cast) for level in levels]
    elif "denoising_steps" in fields:
        levels, fed = _list_levels(fields["denoising_steps"], shift, fields.get("warp", True), cast)
    else:
        levels, fed = SPACINGS.get(str(fields.get("prediction")), _space_levels)(fields, total or steps)
    return levels, [float(t) for t in fields.get("timesteps") or fed]


def _list_levels(entries: Iterable[int], shift: float, warp: bool, cast: str) -> tuple[list[float], list[float]]:
    """Warped, a denoising step is shifted; else it is fed as it is. Its level is the nearest of the shifted table."""
    table = _make_table(shift)
    timesteps = [to_float32(1000 * level) for level in table]
    wanted = [[*timesteps, 0.0][1000 - int(entry)] if warp else float(entry) for entry in entries]
    nearest = [min(range(1000), key=lambda i: abs(timesteps[i] - timestep)) for timestep in wanted]
    return [table[i] for i in nearest], [CASTS[cast](timestep) for timestep in wanted]


@lru_cache(maxsize=16)
def _make_table(shift: float) -> tuple[float, ...]:
    """Return the shifted levels 1000/1000, 999/1000 .. 1/1000 as training has them: float32 at each operation."""
    step = to_float32(-1 / 1000)
    even = [to_float32(1 + step * i if i < 500 else -step * (1000 - i)) for i in range(1000)]
    return tuple(float(apply_shift(Float32(t), shift)) for t in even)


def _read_rule(fields: Mapping[str, Any]) -> tuple[int, float]:
    return int(fields.get("steps", 20)), float(fields.get("shift", 1.0))


def _space_levels(fields: Mapping[str, Any], total: int) -> tuple[list[float], list[float]]:
    """The last of ``total`` levels spaced evenly and shifted; kept in float32, but truncated before that."""
    (kept, shift), cast = _read_rule(fields), str(fields.get("timestep_cast", "int64_trunc"))
    start = STARTS.get(str(fields.get("solver")), 1.0)
    exact = [apply_shift(i * (-start / total) + start, shift) for i in range(total)][-kept:]
    return [to_float32(level) for level in exact], [_cast_level(level, cast) for level in exact]


def _make_ddim_levels(fields: Mapping[str, Any], steps: int) -> tuple[list[float], list[float]]:
    """Timesteps from 999 to 0, truncated, the last of them kept; ``abar = 1 - t / 1000``, clamped, in float32.

    Equal levels count once.
    """
    kept, shift = _read_rule(fields)
    positions = _space_evenly(1.0, steps)
    if shift == 1:
        timesteps = [int(t) for t in _space_evenly(999.0, steps)]
    else:
        timesteps = [int(999 * apply_shift(u, shift) + 1e-6) for u in positions]
    timesteps = timesteps[-kept:]
    least, most = to_float32(DDIM_CLAMP), to_float32(1 - DDIM_CLAMP)
    signals = [min(max(to_float32(1 - to_float32(t / 1000)), least), most) for t in timesteps]
    levels = [math.sqrt((1 - signal) / signal) for signal in signals]
    unequal = [i for i, level in enumerate(levels) if i + 1 == len(levels) or levels[i + 1] != level]
    return [levels[i] for i in unequal], [float(timesteps[i]) for i in unequal]


def _space_evenly(start: float, count: int) -> list[float]:
    """Return ``count`` numbers from ``start`` to 0, rounded as by torch: each half counts from its own end."""
    step = -start / (count - 1) if count > 1 else 0.0
    return [start + step * i if i < count / 2 else -step * (count - 1 - i) for i in range(count)]


def _round_to_bf16(value: float) -> float:
    """Round to bfloat16: the upper half of a float32, to the nearest, ties to even."""
    bits = struct.unpack("<I", struct.pack("<f", to_float32(value)))[0]
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    result: float = struct.unpack("<f", struct.pack("<I", rounded))[0]
    return result


def _cast_level(level: float, cast: str) -> float:
    """Return what the network is fed at a flow level: truncated from float64, otherwise made in float32."""
    is_exact = cast in ("int64_trunc", "table")
    return CASTS[cast](1000 * level if is_exact else to_float32(1000 * to_float32(level)))


SPACINGS = {"velocity": _space_levels, "epsilon": _make_ddim_levels}
"""How the levels of a contract follow from steps and shift, by what its network predicts."""

CASTS = {
    "float": to_float32,
    "bf16": _round_to_bf16,
    "int64_trunc": lambda timestep: float(int(timestep)),
    "table": lambda timestep: float(int(timestep)),
}
"""What becomes of a timestep before the network is fed it; a table has whole numbers, or ``timesteps`` of its own."""
