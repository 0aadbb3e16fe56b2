"""The workflows that are written by ``build_workflows.py``: what stands where, and the note of each."""

from __future__ import annotations

from workflow_plans import core_models, few_step, students

PLANS = (*students.PLANS, *core_models.PLANS, *few_step.PLANS)
