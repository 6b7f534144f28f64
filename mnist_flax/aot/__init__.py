"""Programs compiled for devices that are not here: do they fit, and what do they cost."""

CHIPS = ('tpu_v5e', 'tpu_v6e', 'h100')
