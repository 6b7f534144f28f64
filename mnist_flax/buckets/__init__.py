"""Workdirs in buckets, such as ``gs://bucket/run1``."""
