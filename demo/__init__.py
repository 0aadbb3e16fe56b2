"""Small trained models that show what the pack does, and the scripts that trained them."""
