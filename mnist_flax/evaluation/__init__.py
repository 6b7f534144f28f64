"""Measurement of how good trained networks are."""
