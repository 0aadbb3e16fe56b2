"""Noise levels by arithmetic alone: ComfyUI's model samplings, schedulers and nodes that make or change SIGMAS."""
