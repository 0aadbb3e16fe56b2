"""What ``check`` states again, because it starts without torch, beside the library that samples."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from wan_lite.check.graph.graph import Node
from wan_lite.check.levels.sampling import DiscreteFlow
from wan_lite.check.levels.schedulers import UnknownLevels
from wan_lite.check.rules.settings import SOLVER_NAMES
from wan_lite.check.trace.follow import CannotTell
from wan_lite.check.trace.models import LoadedFile
from wan_lite.check.trace.ours import OWN_SAMPLERS, OWN_SOLVERS, change_rule, contract_levels
from wan_lite.check.trace.updates import NEAR, OURS
from wan_lite.check.trace.updates import SOLVERS as CORE_SOLVERS
from wan_lite.check.training import CASTS, STARTS, find_trainings, make_declared_training, trained_levels
from wan_lite.models.known_students import KnownStudents, Recognition, load_known_students
from wan_lite.samplers import FLOW, VE, Prediction, SamplingContract, flow_schedule, shift_sigma
from wan_lite.samplers.contract import PRESETS, ContractError
from wan_lite.samplers.solvers import SOLVERS
from wan_lite.training_rules import TIMESTEP_CASTS, is_high_noise

SAME = 1e-7
FLOAT32 = 2**-23
FILE = LoadedFile("student.safetensors", Node("1", "UNETLoader", "Load Diffusion Model"))
STUDENTS = {name: one for name, one in load_known_students().students.items() if one.fields is not None}


def make(**fields: Any) -> SamplingContract:
    return SamplingContract(**{"solver": "renoise", "prediction": Prediction.VELOCITY, **fields})


def known_contracts() -> dict[str, SamplingContract]:
    contracts = {}
    for name, student in STUDENTS.items():
        own = student.contract()
        assert own is not None
        contracts |= {f"{name} {i}": one for i, one in enumerate((own, *own.alternatives))}
    return contracts


DMD = [1000, 750, 500, 250]
OTHERS = {
    **{f"warp, {cast}": make(denoising_steps=DMD, shift=5.0, timestep_cast=cast) for cast in ("float", "bf16")},
    "warp, truncated": make(denoising_steps=DMD, shift=5.0),
    "warp to 0": make(denoising_steps=[999, 937, 703, 2, 0], shift=8.0, timestep_cast="float"),
    "warp, every step": make(denoising_steps=list(range(1000, 0, -1)), shift=3.0, timestep_cast="float"),
    "warp, with a table": make(denoising_steps=DMD, shift=5.0, timestep_cast="table", timesteps=[999, 900, 800, 600]),
    **{
        f"no warp, {cast}": make(denoising_steps=[1000, 757, 522], shift=8.0, warp=False, timestep_cast=cast)
        for cast in TIMESTEP_CASTS
    },
    "no warp, to 0": make(denoising_steps=[1000, 906, 522, 211, 0], shift=3.0, warp=False),
    **{f"angles, {cast}": make(sigma_max=80.0, steps=4, timestep_cast=cast) for cast in ("float", "bf16")},
    "angles, truncated": make(sigma_max=200.0, steps=2),
    "angles, with a table": make(sigma_max=120.0, steps=2, timestep_cast="table", timesteps=[990.5, 900]),
    **{f"levels, {cast}": make(levels=[1, 0.9375, 0.7, 0.29], timestep_cast=cast) for cast in ("float", "bf16")},
    "levels, truncated": make(levels=[0.999, 0.57, 0.29]),
    "levels, with a table": make(levels=[1, 0.5], timestep_cast="table", timesteps=[999.5, 500.25]),
    **{
        f"{name}, {cast}, {steps} steps, shift {shift}": make(solver=name, steps=steps, shift=shift, timestep_cast=cast)
        for name, solver in SOLVERS.items()
        if FLOW in solver.schedules
        for cast in ("int64_trunc", "float", "bf16")
        for steps, shift in ((1, 5.0), (4, 8.0), (20, 5.0), (40, 12.0), (50, 1.0), (333, 0.3))
    },
    **{
        f"ddim, {steps} steps, shift {shift}": make(
            solver="ddim", prediction=Prediction.EPSILON, steps=steps, shift=shift
        )
        for steps in (1, 4, 20, 33, 600)
        for shift in (1.0, 3.0)
    },
    "plain, with a table": make(solver="flow_euler", steps=2, timestep_cast="table", timesteps=[1000, 400]),
}
CONTRACTS = known_contracts() | PRESETS | OTHERS


def to_fields(contract: SamplingContract) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(contract.to_json())
    return fields


def sigmas_of(contract: SamplingContract) -> list[float]:
    """Its sigmas as ComfyUI's SIGMAS hold them, without the final 0."""
    schedule = contract.schedule()
    values: list[float] = (schedule if contract.process == FLOW else schedule.to_process(VE)).sigmas[:-1].tolist()
    return values


@pytest.mark.parametrize("name", CONTRACTS)
def test_levels_and_timesteps_are_those_of_the_contract(name: str) -> None:
    contract = CONTRACTS[name]
    fed = contract.schedule().timesteps
    assert fed is not None
    levels, timesteps = trained_levels(to_fields(contract))
    assert levels == pytest.approx(sigmas_of(contract), rel=SAME, abs=SAME)
    assert timesteps == pytest.approx(fed.tolist(), rel=FLOAT32 if fed.is_floating_point() else 0, abs=0)


@pytest.mark.parametrize("steps", [0, 5, 8])
def test_angles_that_the_samplers_refuse_are_refused(steps: int) -> None:
    with pytest.raises(ValueError):
        make(sigma_max=80.0, steps=steps).schedule()
    with pytest.raises(UnknownLevels, match=f"1 to 4 steps, not {steps}"):
        trained_levels({"solver": "renoise", "sigma_max": 80.0, "steps": steps})


@pytest.mark.parametrize("name", STUDENTS)
def test_the_ways_of_a_known_student_are_its_contract_and_the_alternatives(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = STUDENTS[name].contract()
    assert contract is not None
    only = replace(load_known_students(), students={name: STUDENTS[name]})
    monkeypatch.setattr(KnownStudents, "recognise", lambda self, path: Recognition(tuple(self.students.values())))
    (ways,) = find_trainings(FILE, only)
    assert len(ways) == 1 + len(contract.alternatives)
    for way, one in zip(ways, (contract, *contract.alternatives), strict=True):
        assert way.levels == pytest.approx(sigmas_of(one), abs=SAME)


@pytest.mark.parametrize("shift", [0.01, 0.3, 1.0, 1.15, 3.0, 5.0, 8.0, 12.0, 1000.0])
def test_the_shift_is_the_librarys(shift: float) -> None:
    for multiplier in (1.0, 1000.0):
        flow = DiscreteFlow(shift, multiplier)
        for i in range(1001):
            assert flow.sigma(multiplier * i / 1000) == pytest.approx(shift_sigma(i / 1000, shift), rel=1e-12, abs=0)
    assert DiscreteFlow(shift).table == pytest.approx([shift_sigma(i / 1000, shift) for i in range(1, 1001)], rel=1e-12)


def test_every_solver_is_known() -> None:
    """A new solver must be told to ``check``: its node, its update and its name in words."""
    ours = {rule.solver for rule in OURS.values()}
    nodes = {OURS[name].solver for name in OWN_SOLVERS.values()}
    assert not set(SOLVERS) - ours, "add them to OURS in check/trace/updates.py"
    assert not set(SOLVERS) - nodes, "add their nodes to OWN_SOLVERS in check/trace/ours.py"
    assert not set(SOLVERS) - set(SOLVER_NAMES), "add them to SOLVER_NAMES in check/rules/settings.py"


def test_no_solver_is_known_that_does_not_exist() -> None:
    named = {*SOLVER_NAMES, *STARTS, *CORE_SOLVERS.values(), *NEAR.values(), *(rule.solver for rule in OURS.values())}
    assert named <= set(SOLVERS)
    assert {*OWN_SOLVERS.values(), *OWN_SAMPLERS.values()} <= set(OURS)


def test_solvers_that_start_below_one() -> None:
    starts = {name: one.schedules[FLOW].make for name, one in SOLVERS.items() if FLOW in one.schedules}
    assert set(STARTS) == {name for name, schedule in starts.items() if schedule is flow_schedule}


def test_every_cast_is_known() -> None:
    assert set(CASTS) == set(TIMESTEP_CASTS)


@pytest.mark.parametrize("name", [name for name, one in CONTRACTS.items() if one.expert_boundary is not None])
def test_the_experts_of_known_students_share_the_steps_as_the_library_does(name: str) -> None:
    check_experts(CONTRACTS[name])


@pytest.mark.parametrize("boundary", [0.875, 0.8755, 0.832, 0.9])
@pytest.mark.parametrize("cast", ["int64_trunc", "float", "bf16"])
def test_the_fed_timestep_decides_between_experts(boundary: float, cast: str) -> None:
    levels = [1.0, 0.9004, 0.8759, 0.8751, 0.875, 0.8749, 0.8335, 0.5]
    check_experts(make(levels=levels, timestep_cast=cast, boundary=boundary))


def check_experts(contract: SamplingContract) -> None:
    boundary, fed = contract.expert_boundary, contract.schedule().timesteps
    assert boundary is not None and fed is not None
    way = make_declared_training(FILE, to_fields(contract), "declared")
    high = [is_high_noise(timestep, boundary) for timestep in fed.tolist()]
    assert way.levels_of({"high"}) == [level for level, is_high in zip(way.levels, high, strict=True) if is_high]
    assert way.levels_of({"low"}) == [level for level, is_high in zip(way.levels, high, strict=True) if not is_high]


@pytest.mark.parametrize("denoise", [0.9, 0.5, 0.25, 0.01])
@pytest.mark.parametrize("name", [name for name in CONTRACTS if "333" not in name and "600" not in name])
def test_denoise_keeps_the_same_end(name: str, denoise: float) -> None:
    contract = CONTRACTS[name]
    schedule = contract.schedule(denoise=denoise)
    levels, timesteps = contract_levels(to_fields(contract), denoise)
    wanted = schedule if contract.process == FLOW else schedule.to_process(VE)
    assert levels == pytest.approx(wanted.sigmas.tolist(), rel=SAME, abs=SAME)
    assert schedule.timesteps is not None
    assert timesteps == pytest.approx(schedule.timesteps.tolist(), rel=FLOAT32, abs=0)


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_another_number_of_steps_has_the_librarys_levels(steps: int) -> None:
    contract = OTHERS["warp, float"].with_steps(steps)
    fields = change_rule({**to_fields(OTHERS["warp, float"]), "steps": steps})
    assert not isinstance(fields, CannotTell)
    assert trained_levels(fields)[0] == pytest.approx(sigmas_of(contract), abs=SAME)


@pytest.mark.parametrize("name", ["no warp, float", "levels, float", "plain, with a table"])
def test_a_list_has_no_rule_for_another_number_of_steps(name: str) -> None:
    with pytest.raises(ContractError):
        OTHERS[name].with_steps(5)
    assert isinstance(change_rule({**to_fields(OTHERS[name]), "steps": 5}), CannotTell)
