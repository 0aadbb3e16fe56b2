"""The rules: each compares one side of what a workflow does with how its models were trained."""

from .case import Case
from .latents import check_latents
from .shifts import check_shifts
from .stages import check_stages
from .students import check_students
from .unknown import check_unknown

__all__ = ["RULES", "Case"]

RULES = (check_students, check_shifts, check_stages, check_latents, check_unknown)
