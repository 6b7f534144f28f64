"""Data sets as arrays in memory, and changes of training images."""
