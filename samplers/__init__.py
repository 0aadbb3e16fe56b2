"""Schedules, noise processes, predictions, solvers and the sampling contract. Needs torch only."""

from ..on_mismatch import ContractMismatch, raise_or_warn
from ..training_rules import is_high_noise
from . import solvers
from .contract import PRESETS, Causal, ContractError, SamplingContract
from .few_step import explicit_schedule, few_step_schedule, trigflow_schedule
from .formatting import format_contract
from .guidance import apply_guidance, combine_experts
from .mismatch import compare
from .noise import per_item_noise, step_noise
from .prediction import Prediction, from_x0, to_x0
from .process import FLOW, VE, VP, NoiseProcess
from .schedule import Schedule, ddim_schedule, dpmpp_schedule, flow_schedule, infer_shift, shift_sigma
from .solver import Denoiser, Network, NetworkDenoiser, Solver, Step, integrate, sample
from .solvers import *  # noqa: F403 - a solver is exported where it is registered
from .timesteps import wan_timestep

__all__ = [
    "FLOW",
    "PRESETS",
    "VE",
    "VP",
    "Causal",
    "ContractError",
    "ContractMismatch",
    "Denoiser",
    "Network",
    "NetworkDenoiser",
    "NoiseProcess",
    "Prediction",
    "SamplingContract",
    "Schedule",
    "Solver",
    "Step",
    "apply_guidance",
    "combine_experts",
    "compare",
    "ddim_schedule",
    "dpmpp_schedule",
    "explicit_schedule",
    "few_step_schedule",
    "flow_schedule",
    "format_contract",
    "from_x0",
    "infer_shift",
    "integrate",
    "is_high_noise",
    "per_item_noise",
    "raise_or_warn",
    "sample",
    "shift_sigma",
    "step_noise",
    "to_x0",
    "trigflow_schedule",
    "wan_timestep",
]
__all__ += solvers.__all__
