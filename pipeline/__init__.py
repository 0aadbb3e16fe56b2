"""Whole jobs built from the networks and the samplers: paint pictures, probe a checkpoint, describe a file."""
