"""A page to draw a digit on."""
