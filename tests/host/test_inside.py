"""Each check_* function of tests/host/inside, run in ComfyUI's own interpreter, as one test."""

from __future__ import annotations

import pytest

from host.comfyui import skip_on_older
from host.worker import Worker, find_checks


@pytest.mark.parametrize("check", find_checks())
def test_inside(worker: Worker, check: str) -> None:
    answer = worker.run(check)
    if answer["outcome"] == "skipped":
        skip_on_older(worker.comfyui, f"lacks something: {answer['text']}")
    if answer["outcome"] == "failed":
        pytest.fail(answer["text"] + "\n" + answer.get("log", ""), pytrace=False)
