"""Reading diffusers' ``scheduler_config.json`` as fields of a sampling contract."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..samplers.prediction import Prediction
from ..samplers.process import FLOW
from ..samplers.solvers import SOLVERS
from .errors import CheckpointError
from .text_files import read_text

__all__ = ["read_scheduler_config"]

log = logging.getLogger(__name__)

_PREDICTIONS = {"epsilon": Prediction.EPSILON, "flow_prediction": Prediction.VELOCITY}


def read_scheduler_config(path: Path) -> dict[str, Any]:
    """Return solver, prediction, shift and num_train_timesteps of a scheduler configuration (steps are not in it).

    Raises:
        ValueError: It is not JSON, or names a sampling that none of the solvers here can follow.
    """
    try:
        config = json.loads(read_text(path))
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: is not JSON ({error}); repair or remove it.") from None
    if not isinstance(config, Mapping):
        raise ValueError(f"{path.name}: is {type(config).__name__}, not a mapping of settings; repair or remove it.")
    name, stated = str(config.get("_class_name")), config.get("prediction_type", "epsilon")
    # diffusers' own flow schedulers have no prediction type: it is always the velocity
    prediction = Prediction.VELOCITY if name.startswith("Flow") else _PREDICTIONS.get(str(stated))
    solver = _find_solver(name, prediction)
    if solver is None or prediction is None:
        raise ValueError(
            f"{path.name}: {name} with prediction_type {stated!r} is not a sampling that Wan Lite can follow (it has "
            "UniPC, DPM++ and Euler on flow, DDIM on epsilon); name a preset instead."
        )
    found = {"solver": solver, "prediction": prediction, "num_train_timesteps": config.get("num_train_timesteps", 1000)}
    if prediction.process == FLOW:
        return {**found, "shift": _read_flow_shift(config, path)}
    if "beta_schedule" in config:
        log.warning("%s: its betas are not used; DDIM here is the training loop's, alpha^2 = 1 - t / 1000.", path)
    return found


def _find_solver(name: str, prediction: Prediction | None) -> str | None:
    """Return the name of the solver that follows a scheduler class of diffusers in the prediction's process."""
    if prediction is None:
        return None
    fitting = (solver for solver in SOLVERS.values() if solver.diffusers.get(name) == prediction.process)
    return next((solver.name for solver in fitting), None)


def _read_flow_shift(config: Mapping[str, Any], path: Path) -> Any:
    """Return the shift as the file has it; the contract says whether it is a usable number."""
    if config.get("use_dynamic_shifting"):
        raise ValueError(
            f"{path.name}: use_dynamic_shifting is on, which has no single shift; name a preset or stamp a contract."
        )
    return config.get("flow_shift", config.get("shift", 1.0))
