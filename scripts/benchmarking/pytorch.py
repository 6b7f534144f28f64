"""The contenders `pytorch` and, with ``--compile``, `pytorch_compile`."""

import sys

import torch
from benchmarking import protocol
from torch import nn

# The fastest of 50 to 10,000 where this was written, twice as fast as 1,000.
_TEST_BATCH_SIZE = 100


class PyTorch:
    """PyTorch's usual loop in its fastest plain form.

    The images are float tensors in memory, indexed by a random permutation (a DataLoader
    would copy and collate them one by one), in the memory format that is its faster one
    for convolutions.
    """

    def __init__(self, arrays):
        self.versions = {'torch': torch.__version__}
        self._train_images, self._test_images = (
            (torch.from_numpy(arrays[name]).permute(0, 3, 1, 2).float() / 255).contiguous(
                memory_format=torch.channels_last
            )
            for name in ('train_images', 'test_images')
        )
        self._train_labels, self._test_labels = (
            torch.from_numpy(arrays[name]).long()
            for name in ('train_labels', 'test_labels')
        )
        self._num_classes = int(arrays['num_classes'])
        self._loss = nn.CrossEntropyLoss()

    def setup(self, batch_size: int, num_examples: int, seed: int) -> None:
        """Makes a new network and takes a step with each batch size of its epochs."""
        torch.manual_seed(seed)
        channels, *sides = self._train_images.shape[1:]
        height, width = (((side - 2) // 2 - 2) // 2 for side in sides)
        self._model = nn.Sequential(
            *(nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64 * height * width, 128), nn.ReLU()),
            nn.Linear(128, self._num_classes),
        ).to(memory_format=torch.channels_last)
        # Not `fused=True`, which was no faster on a CPU.
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=1e-3)
        if '--compile' in sys.argv:
            torch.compiler.reset()  # else the networks of earlier set-ups count as variants
            # A program for each batch size, of which there are few, not one for them all.
            self._model = torch.compile(self._model, dynamic=False)
        self._batch_size, self._num_examples = batch_size, num_examples
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

    def _step(self, batch):
        self._optimizer.zero_grad()
        logits = self._model(self._train_images[batch])
        self._loss(logits, self._train_labels[batch]).backward()
        self._optimizer.step()


if __name__ == '__main__':
    protocol.serve(PyTorch)
