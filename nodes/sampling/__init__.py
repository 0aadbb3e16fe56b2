"""Nodes that sample: samplers, schedules, solvers, contracts, the probe."""
