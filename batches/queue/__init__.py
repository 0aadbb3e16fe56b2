"""Rows through ComfyUI servers: a workflow with values from each row, posted, followed, and its results fetched."""
