"""The configs that come with the project, in its repository or in its package."""

import functools
import importlib.util
import json
import pathlib
from typing import Any

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


@functools.cache
def load_default() -> dict[str, Any]:
    """Loads ``configs/default.py`` as plain values."""
    spec = importlib.util.spec_from_file_location('_default', ROOT / 'configs/default.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return json.loads(module.get_config().to_json())
