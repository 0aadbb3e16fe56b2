"""The checks of a sampling that need no host, and what ``on_mismatch`` does with their sentences."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from wan_lite.on_mismatch import ON_MISMATCH
from wan_lite.samplers import ContractMismatch, Prediction, SamplingContract, flow_schedule, raise_or_warn
from wan_lite.samplers.mismatch import (
    check_few_steps,
    check_leftover,
    compare,
    drop_assumed,
    list_changes,
    mark_changes,
)

FEW = SamplingContract("flow_unipc", Prediction.VELOCITY, steps=4, shift=5.0)


def test_error_raises_every_sentence() -> None:
    with pytest.raises(ContractMismatch, match=r"^one\ntwo Do this\.$"):
        raise_or_warn(["one", None, "two"], way_out=" Do this.")


@pytest.mark.parametrize(("on_mismatch", "logged"), [("warn", ["Wan Lite: one", "Wan Lite: two"]), ("ignore", [])])
def test_warn_logs_and_ignore_drops(on_mismatch: str, logged: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        raise_or_warn(["one", None, "two"], on_mismatch)
    assert [record.getMessage() for record in caplog.records] == logged


def test_nothing_wrong_is_nothing_said() -> None:
    for on_mismatch in ON_MISMATCH:
        raise_or_warn([None, None], on_mismatch)


def test_an_unknown_choice_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="on_mismatch is 'stop'; allowed: error, warn, ignore"):
        raise_or_warn([], "stop")


def test_leftover_noise_is_told_and_so_is_a_lost_history() -> None:
    sigmas = flow_schedule(10, shift=5.0).sigmas
    assert check_leftover(sigmas, "flow_unipc", 2) is None
    one, two = (check_leftover(sigmas[:5], name, order) for name, order in (("ddim", 1), ("flow_unipc", 2)))
    assert one is not None and "SIGMAS end at 0.882" in one and "history" not in one
    assert two is not None and "flow_unipc of order 2 then starts anew without its history" in two


@pytest.mark.parametrize(("steps", "shift", "fits"), [(4, 5.0, True), (4, 8.0, False), (6, 5.0, False), (2, 5.0, True)])
def test_sigmas_that_a_few_step_model_was_not_trained_on(steps: int, shift: float, fits: bool) -> None:
    problem = check_few_steps(FEW, flow_schedule(steps, shift=shift).sigmas)
    assert (problem is None) == fits
    if problem is not None:
        assert "distilled to 4 steps at timesteps [999.8, 937.3, 833.1, 624.7]" in str(problem)
        assert "steps 4 and shift 5" in str(problem)


def test_other_models_may_visit_any_sigma() -> None:
    sigmas = torch.tensor([0.9, 0.1, 0.0])
    for contract in (
        None,
        SamplingContract("flow_unipc", Prediction.VELOCITY, steps=20, shift=5.0),
        SamplingContract("ddim", Prediction.EPSILON, steps=4),
    ):
        assert check_few_steps(contract, sigmas) is None


@pytest.mark.parametrize("source", ["declared", "sidecar"])
def test_what_a_checkpoint_says_counts(source: str, caplog: pytest.LogCaptureFixture) -> None:
    contract = replace(FEW, source=source)
    mismatches = compare(contract, replace(contract, solver="flow_dpmpp", shift=3.0))
    assert drop_assumed(contract, mismatches) == mismatches and len(mismatches) >= 2
    assert not caplog.records


def test_what_was_only_assumed_may_be_changed_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    contract = replace(FEW, source="assumed")
    mismatches = compare(contract, replace(contract, solver="flow_dpmpp", shift=3.0))
    with caplog.at_level(logging.WARNING):
        assert drop_assumed(contract, mismatches) == []
        assert drop_assumed(contract, []) == []
    (line,) = [record.getMessage() for record in caplog.records]
    assert "solver flow_dpmpp instead of flow_unipc" in line and "shift 3.0 instead of 5.0" in line


def test_a_record_says_declared_only_where_nothing_was_changed() -> None:
    declared = replace(FEW, source="declared", latent=(4, 8, 8))
    assert list_changes(declared, declared) == {} == list_changes(None, declared)
    assert mark_changes(declared, declared) == declared
    used = replace(declared, steps=2, latent=(4, 16, 8))
    assert list_changes(declared, used) == {
        "steps": {"contract": 4, "used": 2},
        "latent": {
            "contract": {"channels": 4, "height": 8, "width": 8},
            "used": {"channels": 4, "height": 16, "width": 8},
        },
    }
    assert mark_changes(declared, used) == replace(used, source="assumed")


def test_a_run_by_an_alternative_has_changed_nothing() -> None:
    other = replace(FEW, solver="flow_euler", source="declared")
    declared = replace(FEW, source="declared", alternatives=(other,))
    assert list_changes(declared, other) == {}
    assert list(list_changes(declared, replace(other, cfg=2.0))) == ["cfg"]
