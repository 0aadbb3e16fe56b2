"""The parts of the table: a module for each subject, each with its ``CASES``."""
