"""Measurements on a graphics card, in one call that needs torch, safetensors, einops, numpy and pillow only."""
