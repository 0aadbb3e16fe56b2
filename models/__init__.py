"""The networks: Wan VAEs, distilled students, small world models. Needs torch, einops and safetensors; never ComfyUI."""
