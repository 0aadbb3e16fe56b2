"""The three networks of a world, as plain torch modules: what they compute, not how they are stored or rolled out."""
