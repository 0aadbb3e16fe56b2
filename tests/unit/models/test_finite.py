"""One question, asked of tensors of every type: is each value a finite number?"""

from __future__ import annotations

import pytest
import torch

from wan_lite.models import finite
from wan_lite.models.finite import is_finite

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2, torch.float8_e4m3fn]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_one_bad_value_is_found_in_every_dtype(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite, "_ELEMENTS_AT_ONCE", 4)  # the value lies in a later part
    values = torch.linspace(-2, 2, 35).view(5, 7)
    assert is_finite(values.to(dtype))
    for bad in [float("nan")] + [float("-inf")] * (dtype is not torch.float8_e4m3fn):  # which has no infinity
        values[3, 2] = bad
        assert not is_finite(values.to(dtype))


def test_whole_numbers_and_nothing_are_finite() -> None:
    assert is_finite(torch.arange(3))
    assert is_finite(torch.zeros(0, 4))
