"""How the VAE is executed: a picture or a clip a few rows at a time, without autograd, in little memory."""
