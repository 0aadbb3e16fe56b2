"""What a workflow will sample, computed from its file alone, and where that contradicts the models that it loads."""
