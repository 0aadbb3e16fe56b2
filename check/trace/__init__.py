"""What reaches each sampler of a graph: model, levels, guidance, noise and latents, followed back along the links."""
