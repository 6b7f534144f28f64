"""From pictures of digits to predictions."""
