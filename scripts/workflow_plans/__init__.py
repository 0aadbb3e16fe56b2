"""The workflows that are written by ``build_workflows.py``: what stands where, and the note of each."""

from __future__ import annotations

from workflow_plans import core_models, few_step, image_edits, student_batches, students, teachers, worlds

PLANS = (
    *students.PLANS,
    *student_batches.PLANS,
    *image_edits.PLANS,
    *teachers.PLANS,
    *core_models.PLANS,
    *few_step.PLANS,
    *worlds.PLANS,
)
