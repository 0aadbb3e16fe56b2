"""Fits of cost against size."""

from __future__ import annotations

import pytest

from wan_lite.benchmarks.cases.scaling import fit_slope, fit_terms

SIZES = (4096, 9216, 16384, 65536)


def test_the_two_terms_of_a_cost_are_found() -> None:
    linear, square = fit_terms({size: 3e-4 * size + 2e-9 * size**2 for size in SIZES})
    assert linear == pytest.approx(3e-4)
    assert square == pytest.approx(2e-9)


def test_a_cost_that_grows_more_slowly_has_no_square() -> None:
    assert fit_terms({size: size**0.9 for size in SIZES})[1] == 0.0


def test_a_cost_of_the_square_alone_has_no_negative_term() -> None:
    assert fit_terms({size: 1e-9 * size**2.5 for size in SIZES})[0] == 0.0


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_slope_is_the_power(power: float) -> None:
    assert fit_slope({size: 7e-5 * size**power for size in SIZES}) == pytest.approx(power)
