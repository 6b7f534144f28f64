"""Which ingredients of a recipe help."""
