"""Solvers in words: what `check` calls them, without importing torch, is what they call themselves."""

from __future__ import annotations

import pytest

from wan_lite.check.rules.settings import SOLVER_NAMES
from wan_lite.samplers import SOLVERS


def test_check_names_every_solver_and_no_other() -> None:
    assert set(SOLVER_NAMES) == set(SOLVERS)


@pytest.mark.parametrize("name", SOLVERS)
def test_check_says_the_label_of_the_solver(name: str) -> None:
    assert SOLVER_NAMES[name].partition(" (")[0] == SOLVERS[name].label


def test_labels_tell_the_solvers_apart() -> None:
    assert len({solver.label for solver in SOLVERS.values()}) == len(SOLVERS)
