"""Procedural data and training scripts behind the demo weights."""
