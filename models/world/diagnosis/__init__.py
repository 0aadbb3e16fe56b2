"""Why a rollout gets worse: measuring it (`diagnose`) and saying it (`Diagnosis`)."""

from .diagnose import diagnose
from .report import ARMS, ActionEffect, Diagnosis

__all__ = ["ARMS", "ActionEffect", "Diagnosis", "diagnose"]
