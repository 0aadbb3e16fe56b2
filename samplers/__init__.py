"""Schedules, noise processes, predictions, solvers and the sampling contract. Needs torch only."""

from .contract import PRESETS, ContractError, ContractMismatch, SamplingContract, compare
from .ddim import DDIM, Churn
from .dpmpp import FlowDPMpp
from .guidance import guided, two_experts
from .noise import per_item_noise, step_noise
from .prediction import Prediction, from_x0, to_x0
from .process import FLOW, VE, VP, NoiseProcess
from .schedule import Schedule, ddim_schedule, dpmpp_schedule, flow_schedule, shift_sigma, wan_timestep
from .solver import Denoiser, Network, NetworkDenoiser, Solver, Step, integrate, sample
from .threshold import DynamicThreshold
from .unipc import FlowUniPC

__all__ = [
    "DDIM",
    "FLOW",
    "PRESETS",
    "VE",
    "VP",
    "Churn",
    "ContractError",
    "ContractMismatch",
    "Denoiser",
    "DynamicThreshold",
    "FlowDPMpp",
    "FlowUniPC",
    "Network",
    "NetworkDenoiser",
    "NoiseProcess",
    "Prediction",
    "SamplingContract",
    "Schedule",
    "Solver",
    "Step",
    "compare",
    "ddim_schedule",
    "dpmpp_schedule",
    "flow_schedule",
    "from_x0",
    "guided",
    "integrate",
    "per_item_noise",
    "sample",
    "shift_sigma",
    "step_noise",
    "to_x0",
    "two_experts",
    "wan_timestep",
]
