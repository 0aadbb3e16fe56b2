"""Convolution algorithms for CPUs alone: Winograd, and nearest upsampling fused with its convolution."""
