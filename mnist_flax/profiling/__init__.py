"""Profiles of training: where the time of a step goes."""
