"""Which parts of a recipe help."""
