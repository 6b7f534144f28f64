"""Makes TFDS data sets of a user's own pictures."""
