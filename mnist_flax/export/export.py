"""A trained network to files that run without this project: ONNX, StableHLO, its card."""

import json
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jaxtyping import Float, UInt8

from mnist_flax.common.errors import UserError, require
from mnist_flax.common.files import write_atomically
from mnist_flax.data import datasets
from mnist_flax.data.datasets import IMAGE_SHAPE
from mnist_flax.data.shards import Examples
from mnist_flax.export import model_card, onnx_graph
from mnist_flax.models.cnn import CNN
from mnist_flax.recognition.networks import Networks, load_networks
from mnist_flax.reporting import reports

PLATFORMS = ('cpu', 'cuda', 'tpu')

# How many source lines JAX notes of each operation.
_LOCATIONS = 'jax_traceback_in_locations_limit'

# Images at a time, in the checks.
_BATCH_SIZE = 500

_FIELDS = datasets.Fields(
    *(f'config.dataset.{field}' for field in ('name', 'data_dir', 'test_split'))
)

# Most difference between logits, as a part of the largest. That of rounding was measured
# as 3e-6; a mistake in a graph makes a thousand times as much.
_TOLERANCE = 1e-4


class Network(NamedTuple):
    """One network of a finished run."""

    workdir: pathlib.Path
    model: nn.Module  # computes in float32
    variables: Any
    about: dict[str, Any]  # as in `Networks`
    of_run: dict[str, Any]  # its entry there, such as its seed


def export_network(workdir: str, constructor: str, folder: pathlib.Path, run: int) -> None:
    """Writes a network of a finished run for other programs, and prints what was checked.

    The files are ``model.onnx``, which of a network of one's own is left out,
    ``model.stablehlo`` and ``model.md``.

    Args:
      workdir: Of the run, as in `load_networks`.
      constructor: The function that makes its model, as there.
      folder: Where to write; made if it is missing.
      run: Which of several networks, counted from 0 without those that have diverged.

    Raises:
      UserError: There is no such network, its test images are absent, a file does not say
        of them what JAX says, or cannot be written. No file was written then.
    """
    networks = load_networks(workdir, constructor)
    network = _choose(networks, run)
    report = _read_report(networks.workdir)
    test = _load_test_images(networks)
    expected = _predict_by_jax(network, test.images)
    # The first alone, since a batch may have any size.
    starts = [1, *range(_BATCH_SIZE, len(test.images), _BATCH_SIZE)]
    batches = [batch for batch in np.split(test.images, starts) if len(batch)]
    contents: dict[str, bytes] = {}
    checks: dict[str, str] = {}

    def add(name: str, content: bytes, logits: np.ndarray, kind: str) -> None:
        found = compare(name, logits, expected)
        contents[name] = content
        checks[name] = f'{found}; {len(content) / 1e6:.2f} MB, {kind}'

    if type(network.model) is CNN:
        content = onnx_graph.to_onnx(network.model, network.variables)
        kinds = ', '.join(onnx_graph.list_nodes(content))
        logits = onnx_graph.run_onnx(content, batches)
        add('model.onnx', content, logits, f'nodes {kinds}')
    else:
        require(
            not (folder / 'model.onnx').exists(),
            f'--export_dir: found in {str(folder)!r} the model.onnx of another network; '
            'allowed: another folder, since of a network of your own no ONNX is made',
        )
    content = to_stablehlo(network)
    logits = run_stablehlo(content, batches)
    add('model.stablehlo', content, logits, f'for {", ".join(PLATFORMS)}')
    contents['model.md'] = _write_card(network, expected, test, checks, report).encode()
    _write(folder, contents)
    if networks.num_networks > 1:
        print(
            f'network {run} of {networks.num_networks}, counted from 0; predict.py takes '
            'the mean of all'
        )
    for name, check in checks.items():
        print(f'{name}: {check}')
    if 'model.onnx' not in contents:
        print('model.onnx: left out; it is made of the CNN of mnist_flax.models only')
    print(f'written to {folder}: {", ".join(contents)}')


def to_stablehlo(network: Network) -> bytes:
    """Writes a network as StableHLO, from uint8 images to logits.

    Returns:
      A file's content, for `jax.export.deserialize`.

    Raises:
      UserError: The network does something that JAX cannot export.
    """

    def apply(image):
        logits = network.model.apply(network.variables, datasets.normalize(image[None]))
        return logits[0].astype(jnp.float32)

    (batch,) = jax_export.symbolic_shape('batch')
    images = jax.ShapeDtypeStruct((batch, *IMAGE_SHAPE), jnp.uint8)
    limit = getattr(jax.config, _LOCATIONS)
    try:
        # In full precision, or a GPU would round products to TF32. And without the names
        # of source files, which are those of somebody's home.
        jax.config.update(_LOCATIONS, 0)
        with jax.default_matmul_precision('float32'):
            # By vmap: a network of one's own may ask for len(images), which then is 1 and
            # not a symbol.
            function = jax_export.export(jax.jit(jax.vmap(apply)), platforms=PLATFORMS)
            return bytes(function(images).serialize())
    except Exception as error:  # a network of a user's own can raise anything
        first = str(error).strip().split('\n')[0]
        raise UserError(
            f'model.stablehlo: found a network that cannot be exported ({first}); allowed: '
            f'one that jax.export takes for {", ".join(PLATFORMS)}'
        ) from error
    finally:
        jax.config.update(_LOCATIONS, limit)


def run_stablehlo(
    content: bytes, batches: list[np.ndarray]
) -> Float[np.ndarray, 'images classes']:
    """Computes the logits of batches of images by a reloaded StableHLO program."""
    function = jax.jit(jax_export.deserialize(bytearray(content)).call)
    return np.concatenate([np.asarray(function(batch)) for batch in batches])


def compare(
    name: str,
    logits: Float[np.ndarray, 'images classes'],
    expected: Float[np.ndarray, 'images classes'],
) -> str:
    """Says how far logits are from JAX's.

    Raises:
      UserError: A prediction is another one, or a logit is further off than by rounding.
    """
    alike = int((logits.argmax(axis=1) == expected.argmax(axis=1)).sum())
    difference = float(np.abs(logits - expected).max())
    largest = float(np.abs(expected).max())
    allowed = _TOLERANCE * largest
    found = (
        f"{alike:,} of {len(expected):,} predictions as JAX's, logits of up to "
        f'{largest:.0f} differ by {difference:.1e} at most'
    )
    require(
        alike == len(expected) and difference <= allowed,
        f'{name}: found {found}; allowed: all, and {allowed:.1e}; nothing was written',
    )
    return found


def _choose(networks: Networks, run: int) -> Network:
    most = networks.num_networks - 1
    known = f'0 to {most}, the networks that have not diverged' if most else '0'
    require(0 <= run <= most, f'--run: found {run}; allowed: {known}')
    model = networks.model
    if type(model) is CNN:
        model = model.clone(dtype='float32')
    variables = jax.tree.map(lambda of: of[run], networks.variables)
    runs = [of for of in networks.about['runs'] if not of['diverged']]
    return Network(networks.workdir, model, variables, networks.about, runs[run])


def _load_test_images(networks: Networks) -> Examples:
    """Loads what the run was tested on."""
    try:
        of_run = networks.about['config']['dataset']
        name, data_dir, split = (
            str(of_run[field]) for field in ('name', 'data_dir', 'test_split')
        )
    except (KeyError, TypeError) as error:
        raise UserError('--workdir: found a run that does not name its data') from error
    test = datasets.load_split(name, data_dir, split, _FIELDS)
    require(
        test.class_names == networks.class_names,
        f'config.dataset.name: found {test.full_name} with the classes '
        f'{", ".join(test.class_names)}; allowed: those of the network, '
        f'{", ".join(networks.class_names)}',
    )
    return test.examples


def _predict_by_jax(
    network: Network, images: UInt8[np.ndarray, 'images 28 28 1']
) -> Float[np.ndarray, 'images classes']:
    alone = jax.tree.map(lambda of: of[None], network.variables)
    networks = Networks(network.workdir, network.model, alone, network.about, 'float32')
    return networks.logits(images)[0]


def _write_card(network, expected, test, checks, report) -> str:
    size = sum(leaf.size for leaf in jax.tree.leaves(network.variables['params']))
    try:
        return model_card.write(
            network.about, network.of_run, size, expected, test.labels, checks, report
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f'--workdir: found a run that does not say how it was trained ({error!r})'
        ) from error


def _write(folder: pathlib.Path, contents: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically({folder / name: content for name, content in contents.items()})
    except OSError as error:
        raise UserError(
            f'--export_dir: cannot write into {str(folder)!r} ({error.strerror}); allowed: '
            'a folder, which is made if it is missing'
        ) from error


def _read_report(workdir: pathlib.Path) -> str:
    """Says what the run's own report came to; nothing if it has none."""
    path = workdir / 'metrics.json'
    if not path.is_file():
        return ''
    try:
        numbers = json.loads(path.read_text())
        return f'{reports.summary_line(numbers)}; {reports.describe(numbers)}'
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f'--workdir: found in {path} no report of a run; allowed: that of the run, or '
            'none'
        ) from error
