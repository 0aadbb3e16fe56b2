"""What is linked to a node, checked before anything is loaded for it; and runs whose numbers overflow."""
