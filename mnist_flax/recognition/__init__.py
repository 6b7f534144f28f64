"""Pictures of digits to predictions."""
