"""Videos on disk: read a frame at a time, written whole."""
