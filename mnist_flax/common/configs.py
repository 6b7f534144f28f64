"""The configs that come with the project, in its repository or in its package."""

import contextlib
import functools
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import sys
from typing import Any

import ml_collections

_PACKAGE = pathlib.Path(__file__).parent.parent

# The folder that holds configs/: a wheel brings it along in the package.
ROOT = next(
    root
    for root in (_PACKAGE / 'bundled', _PACKAGE.parent)
    if (root / 'configs').is_dir() or root == _PACKAGE.parent
)


def find(path: str) -> str:
    """Finds a config file, such as ``configs/fast.py``, in any working directory."""
    bundled = ROOT / path
    return str(bundled) if not pathlib.Path(path).exists() and bundled.exists() else path


def extend_path() -> None:
    """Makes modules of configs importable, such as ``configs.default``.

    From the folder where the user is, which is on the path of ``python -m`` but not of
    ``python scripts/ablate.py``, and from those that come with the project.
    """
    folders = [str(ROOT)]
    with contextlib.suppress(OSError):
        folders.insert(0, os.getcwd())
    sys.path += [folder for folder in folders if folder not in sys.path]


def load_config(path: str) -> ml_collections.ConfigDict:
    """Calls the ``get_config`` of a file, such as ``configs/fast.py``.

    Args:
      path: The file; those that come with the project are found in any working directory.
        With ``file.py:text``, ``get_config`` gets the text.
    """
    extend_path()
    file, colon, argument = find(path).partition(':')
    module = load_source('_config', file)
    return module.get_config(argument) if colon else module.get_config()


def load_source(name: str, path: str) -> Any:
    """Imports a file as a module of some name."""
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where its dataclasses are looked up
    loader.exec_module(module)
    return module


@functools.cache
def load_default() -> dict[str, Any]:
    """Loads ``configs/default.py`` as plain values."""
    return json.loads(load_config(str(ROOT / 'configs/default.py')).to_json())
