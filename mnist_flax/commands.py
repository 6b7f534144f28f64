"""The command ``mnist_flax`` of an installed package: the scripts, from any folder."""

import pathlib
import runpy
import sys

_PACKAGE = pathlib.Path(__file__).parent

_COMMANDS = (
    'train', 'predict', 'demo', 'evaluate', 'compare', 'export', 'ablate', 'launch',
    'prepare',
)  # fmt: skip

_USAGE = f"""usage: mnist_flax COMMAND ...

COMMAND is one of {', '.join(_COMMANDS)}.
`mnist_flax COMMAND --help` explains it."""


def main() -> None:
    """Runs the command that the first argument names, with the others."""
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name in ('-h', '--help', 'help'):
        print(_USAGE)
        return
    if name not in _COMMANDS:
        found = f'found {name!r}' if name else 'no command is given'
        sys.exit(f'error: mnist_flax: {found}; allowed: {", ".join(_COMMANDS)}')
    del sys.argv[1]
    if name == 'train':
        runpy.run_module('mnist_flax.main', run_name='__main__', alter_sys=True)
        return
    # In a repository they are beside the package, and a wheel brings them along in it.
    folders = (_PACKAGE / 'scripts', _PACKAGE.parent / 'scripts')
    folder = next(folder for folder in folders if folder.is_dir())
    runpy.run_path(str(folder / f'{name}.py'), run_name='__main__')
