"""Networks that were tampered with, with checksums that fit, for `attacks`."""

import hashlib
import json
import logging
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile

from hostile_pictures import DRAWING, change

from mnist_flax.common.errors import UserError
from mnist_flax.recognition import recognizer
from mnist_flax.recognition.networks import PRETRAINED

_CALLS = {'subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'pickle.find_class'}

# In place of values of a run that was tampered with.
_VALUES = (
    None, True, -1, 0, 10**12, 1e400, float('nan'), '', 'os.system', '\x1b[2J', [], {},
    [[]], [-1, 0], ['a'] * 1000, {'constructor': 'os.system', 'command': 'false'},
    {'': 0}, {'__class__': 0}, {'a.b': 1}, 'x' * 10**6,
)  # fmt: skip
_KEYS = ('__class__', 'constructor', 'a.b', '', 'items', '_fields', 'framing', 'edges')


def attack_loader(rng: random.Random) -> None:
    """A model is loaded and predicts, or is refused in one line; nothing is executed."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'model')
        shutil.copytree(PRETRAINED.parent / 'default' / 'model', path)
        rng.choice([_tamper_about, _tamper_about, _tamper_about, _tamper_file, _add])(
            path, rng
        )
        sums = [
            f'{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(path)}\n'
            for file in sorted(path.rglob('*'))
            if file.is_file() and file.name != 'SHA256SUMS'
        ]
        listing = path / 'SHA256SUMS'
        if listing.is_file() and not listing.is_symlink():
            listing.write_text(''.join(sums))
        _executed.clear()
        signal.signal(signal.SIGALRM, _give_up)
        signal.alarm(60)
        try:
            loaded = recognizer.load(folder)
            loaded.explain_doubt(loaded.predict([DRAWING])[0].image)
        except UserError as error:
            assert str(error).isprintable(), error
            assert len(str(error)) < 2100, error
        finally:
            signal.alarm(0)
        assert not _executed, _executed


def _give_up(number: int, frame: object) -> None:
    raise TimeoutError('it takes more than a minute')


_executed: list[str] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in _CALLS and 'mnist_flax.recognition.workers' not in str(arguments):
        _executed.append(f'{event} {arguments}')


def _tamper_about(path: pathlib.Path, rng: random.Random) -> None:
    """Changes some values of the run, or adds some."""
    about = json.loads((path / 'about' / 'metadata').read_text())
    for _ in range(rng.randint(1, 3)):
        place = about
        while True:
            keys = [*place] if isinstance(place, dict) else [*range(len(place))]
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(place[key], dict | list) and rng.random() < 0.8:
                place = place[key]
                continue
            if isinstance(place, dict) and rng.random() < 0.3:
                key = rng.choice(_KEYS)
            place[key] = rng.choice(_VALUES)
            break
    (path / 'about' / 'metadata').write_text(json.dumps(about))


def _tamper_file(path: pathlib.Path, rng: random.Random) -> None:
    """Changes bytes of some files."""
    files = [file for file in sorted(path.rglob('*')) if file.is_file()]
    for file in rng.sample(files, 2):
        if content := file.read_bytes():
            file.write_bytes(change(content, rng))


def _add(path: pathlib.Path, rng: random.Random) -> None:
    """Puts something in the place of a file, or beside it."""
    file = rng.choice([file for file in sorted(path.rglob('*')) if file.is_file()])
    kind = rng.choice(['pipe', 'link', 'hidden', 'folder', 'gone'])
    if kind == 'hidden':
        file.with_name('.hidden').write_bytes(bytes(10**6))
        return
    file.unlink()
    if kind == 'pipe':
        os.mkfifo(file)
    elif kind == 'link':
        file.symlink_to(rng.choice(['/dev/zero', '/dev/null', '/proc/self/maps']))
    elif kind == 'folder':
        file.mkdir()


sys.addaudithook(_note)
# What threads of TensorStore leave; the commands end before they could.
sys.unraisablehook = lambda _: None
logging.getLogger('asyncio').setLevel(logging.CRITICAL)
