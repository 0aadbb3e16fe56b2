"""Computing on the host's processor."""
