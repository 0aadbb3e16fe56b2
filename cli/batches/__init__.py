"""Commands that work through a file of rows, and those that show what came of it."""
