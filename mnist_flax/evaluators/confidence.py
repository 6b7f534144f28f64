"""Evaluator: whether runs are as sure of their answers as they should be."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from mnist_flax.data.datasets import Dataset
from mnist_flax.evaluation import scores
from mnist_flax.evaluation.report import reliability_diagram
from mnist_flax.training import metrics


def calibration(dataset: Dataset, figure: bool = False) -> Callable[..., dict[str, Any]]:
    """Measures the confidence of runs on their validation images.

    Which images these are is said in `corruptions`.

    Args:
      dataset: That of the runs.
      figure: Whether to draw a reliability diagram too.

    Returns:
      The evaluator, which returns the expected calibration ``error``, the mean
      ``confidence`` (both are fractions), the ``loss`` (nats an image) and the figure
      ``reliability``; of a run that has diverged, all numbers are nan.
    """
    images, labels = dataset.validation

    def measure(predict: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
        probabilities = scipy.special.softmax(predict(images).astype(float), axis=1)
        if not np.isfinite(probabilities).all():
            return dict.fromkeys(('error', 'confidence', 'loss'), math.nan)
        numbers = {
            'error': metrics.calibration_error(probabilities, labels),
            'confidence': float(probabilities.max(axis=1).mean()),
            'loss': float(scores.true_class_losses(probabilities, labels).mean()),
        }
        diagram = {'reliability': reliability_diagram(probabilities, labels)}
        return numbers | (diagram if figure else {})

    return measure
