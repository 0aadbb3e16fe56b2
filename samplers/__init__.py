"""Schedules, noise processes, predictions, solvers and the sampling contract. Needs torch only."""
