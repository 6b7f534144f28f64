"""Digits in forms that MNIST lacks, and pages whose content is known, drawn by strokes."""
