"""The loop of the worker process: one JSON line in (which check to run), one JSON line out (how it went)."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Start ComfyUI as the first line says, then run the checks that the next lines name until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints must not break the protocol

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    start = json.loads(sys.stdin.readline())
    sys.argv = ["x", *start["arguments"]]
    import harness

    try:
        harness.start_host(start["comfyui"], start["base"])
    except BaseException:
        answer(outcome="failed", text=traceback.format_exc())
        return
    answer(outcome="ready")
    for line in sys.stdin:
        answer(**run_check(json.loads(line)["check"]))


def run_check(check: str) -> dict[str, Any]:
    """Run ``module.function`` and say how it ended: passed, skipped (and why), or failed (with the traceback)."""
    from harness import Absent

    module_name, function_name = check.rsplit(".", 1)
    started = time.perf_counter()
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(log):
            getattr(importlib.import_module(module_name), function_name)()
    except Absent as reason:
        return {"outcome": "skipped", "text": str(reason)}
    except (Exception, SystemExit) as error:
        return {"outcome": "failed", "text": describe(error), "log": log.getvalue()}
    finally:
        logging.getLogger().removeHandler(handler)
    return {"outcome": "passed", "seconds": time.perf_counter() - started, "log": log.getvalue()}


def describe(error: BaseException) -> str:
    """The traceback from the check on, with the local values of the check's own frames."""
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    text = "".join(traceback.format_exception(type(error), error, frames))
    ours = [frame for frame in _frames(error) if Path(frame.f_code.co_filename).parent == Path(__file__).parent]
    shown = [f"{key} = {_short(value)}" for frame in ours[-1:] for key, value in frame.f_locals.items()]
    return text + ("Local values:\n  " + "\n  ".join(shown) + "\n" if shown else "")


def _frames(error: BaseException) -> list[Any]:
    step, found = error.__traceback__, []
    while step is not None:
        if step.tb_frame.f_code.co_name != "run_check":
            found.append(step.tb_frame)
        step = step.tb_next
    return found


def _short(value: object, limit: int = 200) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        value = f"{type(value).__name__}{tuple(shape)} {getattr(value, 'dtype', '')}"
    with contextlib.suppress(Exception):
        text = value if isinstance(value, str) else repr(value)
        return text if len(text) <= limit else text[:limit] + "..."
    return f"<{type(value).__name__}>"


if __name__ == "__main__":
    main()
