"""Checkpoints, and the folders that runs work in."""
