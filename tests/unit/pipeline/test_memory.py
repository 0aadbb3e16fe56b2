"""Where a batch takes more memory than there is, half of it is tried; other faults are not touched."""

from __future__ import annotations

import logging

import pytest
import torch

from wan_lite.pipeline.memory import is_out_of_memory, run_batches


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("not enough memory: you tried")]
)
def test_batches_are_halved_until_they_fit(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    tried: list[tuple[int, int]] = []

    def run(first: int, count: int) -> list[int]:
        tried.append((first, count))
        if count > 3:
            raise error
        return list(range(first, first + count))

    with caplog.at_level(logging.WARNING):
        assert [item for batch in run_batches(run, 10) for item in batch] == list(range(10))
    assert tried == [(0, 10), (0, 5), (0, 3), (3, 3), (6, 3), (9, 1)]
    assert len(caplog.records) == 2


def test_one_item_that_does_not_fit_is_the_error() -> None:
    def run(first: int, count: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        list(run_batches(run, 3))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    tried: list[int] = []

    def run(first: int, count: int) -> None:
        tried.append(count)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(run_batches(run, 4))
    assert tried == [4]
    assert not is_out_of_memory(ValueError("out of memory"))
