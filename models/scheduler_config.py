"""Reading diffusers' ``scheduler_config.json`` as fields of a sampling contract."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["read_scheduler_config"]

log = logging.getLogger(__name__)

_FLOW_SOLVERS = {
    "UniPCMultistepScheduler": "flow_unipc",
    "FlowUniPCMultistepScheduler": "flow_unipc",
    "DPMSolverMultistepScheduler": "flow_dpmpp",
    "FlowDPMSolverMultistepScheduler": "flow_dpmpp",
    "FlowMatchEulerDiscreteScheduler": "ddim",  # Euler's method is DDIM in the flow process
}
_EPSILON_SOLVERS = ("DDIMScheduler", "DDPMScheduler")
_ALWAYS_FLOW = ("FlowUniPCMultistepScheduler", "FlowDPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler")


def read_scheduler_config(path: Path) -> dict[str, Any]:
    """Return solver, prediction, shift and num_train_timesteps of a scheduler configuration (steps are not in it).

    Raises:
        ValueError: it is not JSON, or names a sampling that none of the solvers here can follow.
    """
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: is not JSON ({error}); repair or remove it.") from None
    if not isinstance(config, Mapping):
        raise ValueError(f"{path.name}: is {type(config).__name__}, not a mapping of settings; repair or remove it.")
    name, prediction = str(config.get("_class_name")), config.get("prediction_type", "epsilon")
    trained = {"num_train_timesteps": config.get("num_train_timesteps", 1000)}
    if name in _FLOW_SOLVERS and (name in _ALWAYS_FLOW or prediction == "flow_prediction"):
        return {
            "solver": _FLOW_SOLVERS[name],
            "prediction": "velocity",
            "shift": _read_flow_shift(config, path),
            **trained,
        }
    if name in _EPSILON_SOLVERS and prediction == "epsilon":
        if "beta_schedule" in config:
            log.warning("%s: its betas are not used; DDIM here is the training loop's, alpha^2 = 1 - t / 1000.", path)
        return {"solver": "ddim", "prediction": "epsilon", **trained}
    raise ValueError(
        f"{path.name}: {name} with prediction_type {prediction!r} is not a sampling that Wan Lite can follow (it has "
        "UniPC, DPM++ and Euler on flow, DDIM on epsilon); name a preset instead."
    )


def _read_flow_shift(config: Mapping[str, Any], path: Path) -> Any:
    """Return the shift as the file has it; the contract says whether it is a usable number."""
    if config.get("use_dynamic_shifting"):
        raise ValueError(
            f"{path.name}: use_dynamic_shifting is on, which has no single shift; name a preset or stamp a contract."
        )
    return config.get("flow_shift", config.get("shift", 1.0))
