"""What the nodes share: the host's schema, folders and metadata, and our models as models of the host."""
