"""Convolution algorithms for CPUs alone: Winograd, and upsampling fused with its convolution."""
