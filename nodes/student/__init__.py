"""Nodes for students: loading, saving, encoded text."""
