"""Few-step LoRA in the host: their weights on a MODEL, and the contract that comes with them."""
