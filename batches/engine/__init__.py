"""Rows through the library's own pipeline, with no ComfyUI: jobs, groups of them, workers, and engines."""
