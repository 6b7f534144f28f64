"""Native Windows cannot be tried here: what does not exist there is hidden instead."""

import re

import numpy as np
import pytest
from PIL import Image

# Modules and functions that only POSIX systems have. Libraries may use them, if they know
# how to do without. Of array_record there are no files for Windows.
RUN = """
import builtins, os, runpy, signal, sys

hidden = {'fcntl', 'grp', 'pwd', 'resource', 'termios', 'tty', 'array_record'}
import_module = builtins.__import__

def import_as_on_windows(name, globals=None, *rest, **more):
    importer = (globals or {}).get('__name__', '')
    ours = importer.startswith(('mnist_flax', 'configs', 'scripts', '__main__'))
    if name.split('.')[0] in hidden and ours:
        raise ImportError(name)
    return import_module(name, globals, *rest, **more)

import filelock, jax, orbax.checkpoint, psutil, tensorflow_datasets  # with all they want

builtins.__import__ = import_as_on_windows
sys.modules['array_record'] = None
for name in ('posix_fallocate', 'sched_getaffinity', 'O_NOFOLLOW', 'getuid', 'sysconf'):
    delattr(os, name)
for name in ('SIGKILL', 'SIGALRM', 'SIGHUP', 'SIGUSR1'):
    delattr(signal, name)
program = sys.argv.pop(1)
sys.path.insert(0, os.getcwd())
if program.endswith('.py'):
    runpy.run_path(program, run_name='__main__')
else:
    runpy.run_module(program, run_name='__main__', alter_sys=True)
"""


# What Windows does not allow in the name of a file.
FORBIDDEN = re.compile(r'[<>:"|?*\\]|[. ]$|^(con|prn|aux|nul)(\.|$)', re.IGNORECASE)


@pytest.mark.slow
def test_a_network_is_trained_and_used_without_what_windows_lacks(command, tmp_path):
    def run(*arguments):
        process = command('-c', RUN, *arguments)
        assert process.returncode == 0, process.stderr
        return process.stdout

    workdir = tmp_path / 'a run'
    source = tmp_path / 'source.npz'
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)
    np.savez(source, images=images, labels=np.arange(60) % 10)
    run(
        'scripts/prepare.py', source, '--name=mine', f'--data_dir={tmp_path / "data"}',
        '--class_names=a,b,c,d,e,f,g,h,i,j',
    )  # fmt: skip
    run(
        'mnist_flax.main', '--config=configs/default.py', '--config.num_epochs=1',
        '--config.dataset.name=mine', f'--config.dataset.data_dir={tmp_path / "data"}',
        '--config.batch_size=8', '--config.model.conv=xla', f'--workdir={workdir}',
    )  # fmt: skip
    assert (workdir / 'metrics.json').exists()
    Image.fromarray(images[0]).save(tmp_path / 'picture.png')
    predicted = run(
        'scripts/predict.py', f'--workdir={workdir}', '--json', tmp_path / '*.png'
    )
    assert 'picture.png' in predicted
    run('scripts/evaluate.py', f'--workdir={workdir}', '--nocorruptions')
    names = [path.name for path in tmp_path.rglob('*')]
    assert len(names) > 20
    assert [name for name in names if FORBIDDEN.search(name)] == []


@pytest.mark.slow
def test_other_modules_are_imported_without_what_windows_lacks(command):
    code = (
        RUN.split('program =')[0]
        + """
import pkgutil, mnist_flax
for module in pkgutil.walk_packages(mnist_flax.__path__, 'mnist_flax.'):
    if module.name != 'mnist_flax.main':
        __import__(module.name)
        print(module.name)
"""
    )
    process = command('-c', code)
    assert process.returncode == 0, process.stderr
    assert 'mnist_flax.demo.server' in process.stdout.split()
