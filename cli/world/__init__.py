"""The commands that play world models, and the videos that they read and write."""
