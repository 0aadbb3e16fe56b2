"""Command line: wan-lite ..."""
