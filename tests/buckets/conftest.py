"""Folders in a bucket, and on this machine."""

import uuid

import pytest

from mnist_flax.buckets import mirror


@pytest.fixture(autouse=True)
def kept_folders(tmp_path, monkeypatch):
    """Where folders are that could not be copied back."""
    monkeypatch.setattr(mirror.tempfile, 'tempdir', str(tmp_path))
    return tmp_path


@pytest.fixture
def address():
    """A folder of its own."""
    return f'powered://bucket/{uuid.uuid4().hex}'
