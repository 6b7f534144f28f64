"""Runs that are divided among processes which know nothing of each other."""
