"""Every solver, one file each. A contract, the command line, the nodes and scheduler files find them here by name."""

from ..solver import Solver
from .ddim import DDIM, Churn
from .dpmpp import FlowDPMpp
from .euler import FlowEuler
from .renoise import Renoise
from .unipc import FlowUniPC

__all__ = ["DDIM", "SOLVERS", "Churn", "FlowDPMpp", "FlowEuler", "FlowUniPC", "Renoise"]

SOLVERS: dict[str, type[Solver]] = {solver.name: solver for solver in (DDIM, FlowUniPC, FlowDPMpp, FlowEuler, Renoise)}
"""The solvers by the names that contracts use."""
