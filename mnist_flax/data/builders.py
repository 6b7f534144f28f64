"""Where a TFDS data set lies on the disk, and what to do if it is not there."""

import difflib
import json
import pathlib
from typing import TYPE_CHECKING, NamedTuple

from mnist_flax.common import addresses
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.framings import FRAMINGS, Framing
from mnist_flax.data import records
from mnist_flax.data.shards import first_line

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# TFDS's own `mnist/3.0.1` with its checksums.
EMBEDDED_DIR = pathlib.Path(__file__).parent / 'tfds'

# TFDS's name of a file for what a data set has to say beside its description.
METADATA = 'metadata.json'


class Fields(NamedTuple):
    """Names of the config fields or flags that choose a data set, for messages."""

    name: str
    data_dir: str
    split: str


def find_root(name: str, data_dir: str, fields: Fields) -> pathlib.Path:
    """Finds the TFDS directory that should hold a data set.

    Raises:
      UserError: There is no folder of that name.
    """
    # TFDS is imported in functions: it takes 0.5 s that `--help` should not wait for.
    from tensorflow_datasets.core import constants

    if data_dir:
        addresses.require_local(data_dir, fields.data_dir)
        root = pathlib.Path(data_dir).expanduser().absolute()
        require(
            root.is_dir(),
            f'{fields.data_dir}: {data_dir!r} is not a directory; use a TFDS directory, '
            "or '' for the embedded MNIST",
        )
        return root
    if name.split(':')[0] == 'mnist':
        return EMBEDDED_DIR
    return pathlib.Path(constants.DATA_DIR)


def find(name: str, root: pathlib.Path, fields: Fields) -> 'tfds.core.DatasetBuilder':
    """Finds a data set that has been prepared.

    Raises:
      UserError: It is not there, its description is damaged, or it is stored in a form
        that is not read here.
    """
    from tensorflow_datasets.core import read_only_builder, registered

    try:
        builder = read_only_builder.builder_from_files(name, data_dir=root)
    except registered.DatasetNotFoundError as error:
        raise UserError(_explain_absence(name, root, fields)) from error
    except MemoryError:
        raise
    except Exception as error:  # whatever JSON, protobuf or TFDS make of a broken file
        raise UserError(
            f'{fields.name}: the TFDS description of {name!r} in {root} cannot be read '
            f'({first_line(error)})'
        ) from error
    stored_as = builder.info.file_format
    require(
        stored_as is not None and stored_as.value in records.FORMATS,
        f'{fields.name}: {builder.data_path} holds {name!r} as '
        f'{stored_as.value if stored_as else "an unknown format"}; allowed: '
        f'{" or ".join(records.FORMATS)}, which TFDS makes in another folder by '
        f'file_format={records.FORMATS[0]!r}',
    )
    return builder


def read_checksums(root: pathlib.Path) -> dict[pathlib.Path, str]:
    """Reads ``SHA256SUMS``, in the form of `sha256sum`, if the directory has one."""
    listing = root / 'SHA256SUMS'
    if not listing.is_file():
        return {}
    try:
        rows = [line.split(maxsplit=1) for line in listing.read_text().splitlines() if line]
        return {root / name.removeprefix('*'): digest for digest, name in rows}
    except ValueError as error:
        raise UserError(
            f'{listing}: each line must be a checksum and a file name'
        ) from error


def read_framing(folder: pathlib.Path) -> Framing | None:
    """Reads how the pictures of a data set were framed, if it says so.

    `preparation.writer` notes it, in the file that TFDS has for such remarks.

    Raises:
      UserError: The file is damaged, or names a framing that is not known.
    """
    path = folder / METADATA
    try:
        metadata = json.loads(path.read_text())
        found = metadata.get('framing')
        if found not in (*FRAMINGS, None):
            raise ValueError(f'the framing {found!r} is none of {", ".join(FRAMINGS)}')
    except FileNotFoundError:  # of most data sets
        return None
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f'{path}: it cannot be read ({first_line(error)})') from error
    return found


def _explain_absence(name: str, root: pathlib.Path, fields: Fields) -> str:
    import tensorflow_datasets as tfds

    if root == EMBEDDED_DIR:
        return (
            f"{fields.name}: {name!r} is not the embedded version, 'mnist:3.0.1'; for "
            f'another one set {fields.data_dir} to a TFDS directory that holds it'
        )
    try:
        builder = tfds.builder(name, data_dir=root)
    except Exception:  # an unknown name, config or version, or one that cannot be parsed
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name, known, n=1)
        return (
            f'{fields.name}: {name!r} is not in {root}, and TFDS knows no such data set or '
            f'version; {f"did you mean {close[0]!r}?" if close else "check the name"}'
        )
    megabytes = sum(info.size or 0 for info in builder.url_infos.values()) / 1e6
    return (
        f'{fields.name}: {name!r} is not in {root}; {_prepare_command(name, root)} '
        f'downloads {megabytes:.0f} MB, and needs TensorFlow (pip install -e '
        f"'.[tensorflow]'); or set {fields.data_dir} to a directory that holds it"
    )


def _prepare_command(name: str, root: pathlib.Path) -> str:
    # Not `tfds build`, which needs Apache Beam too.
    options = f'{name!r}, data_dir={str(root)!r}'
    code = f'import tensorflow_datasets as t; t.builder({options}).download_and_prepare()'
    return f'`python -c "{code}"`'
