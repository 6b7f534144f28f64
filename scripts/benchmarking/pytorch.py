"""The benchmark's contenders `pytorch` and, with ``--compile``, `pytorch_compile`."""

import sys
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from scripts.contenders import protocol

# The fastest of 50 to 10,000 where this was written, twice as fast as 1,000.
_TEST_BATCH_SIZE = 100


class PyTorch:
    """A `protocol.Contender`.

    PyTorch's usual loop in its fastest plain form: the images are float tensors in memory,
    indexed by a random permutation (a DataLoader would copy and collate them one by one),
    in the memory format that is its faster one for convolutions.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.versions = {'torch': torch.__version__, 'numpy': np.__version__}
        self._train_images = _to_float(arrays['train_images'])
        self._train_labels = torch.from_numpy(arrays['train_labels']).long()
        self._test_images = _to_float(arrays['test_images'])
        self._test_labels = torch.from_numpy(arrays['test_labels']).long()
        self._loss = nn.CrossEntropyLoss()

    def setup(self, batch_size: int, num_examples: int, seed: int) -> None:
        """Makes a new network and takes a step with each batch size of its epochs."""
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(1600, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        ).to(memory_format=torch.channels_last)
        # Not `fused=True`, which was no faster on a CPU.
        self._optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        if '--compile' in sys.argv:
            torch.compiler.reset()  # else the networks of earlier set-ups count as variants
            # A program for each batch size, of which there are few, not one for them all.
            self._model = torch.compile(model, dynamic=False)
        else:
            self._model = model
        self._batch_size = batch_size
        self._num_examples = num_examples
        for size in {min(batch_size, num_examples), num_examples % batch_size} - {0}:
            self._step(torch.arange(size))

    def train(self) -> None:
        """Trains for an epoch."""
        for batch in torch.randperm(self._num_examples).split(self._batch_size):
            self._step(batch)

    def evaluate(self) -> int:
        """Counts the correct predictions among all test images."""
        correct = torch.tensor(0)
        with torch.inference_mode():
            for images, labels in zip(
                self._test_images.split(_TEST_BATCH_SIZE),
                self._test_labels.split(_TEST_BATCH_SIZE),
                strict=True,
            ):
                correct += (self._model(images).argmax(dim=1) == labels).sum()
        return int(correct)

    def _step(self, batch: torch.Tensor) -> None:
        self._optimizer.zero_grad()
        logits = self._model(self._train_images[batch])
        self._loss(logits, self._train_labels[batch]).backward()
        self._optimizer.step()


def _to_float(images: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return pixels.contiguous(memory_format=torch.channels_last)


if __name__ == '__main__':
    protocol.serve(PyTorch)
