"""How the VAE is executed without autograd: an image or a video streams through a few rows at a time."""
