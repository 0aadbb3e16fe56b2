"""Nodes for world models."""
