"""Exports a trained network to files that run without this project."""

import json
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jaxtyping import Float

from mnist_flax.checkpointing import workdirs
from mnist_flax.common.errors import UserError, require
from mnist_flax.common.switches import in_our_settings
from mnist_flax.data import datasets
from mnist_flax.data.builders import Fields
from mnist_flax.data.shards import Examples, first_line
from mnist_flax.export import model_card, onnx_graph
from mnist_flax.models import CNN, calls
from mnist_flax.recognition.networks import Networks, load_networks
from mnist_flax.recognition.recognizer import framing_of
from mnist_flax.reporting import reports

PLATFORMS = ('cpu', 'cuda', 'tpu')

# A setting of JAX: how many source lines it notes of each operation.
_LOCATIONS = 'jax_traceback_in_locations_limit'

# Images at a time when the files are checked.
_BATCH_SIZE = 500

_FIELDS = Fields(
    *(f'config.dataset.{field}' for field in ('name', 'data_dir', 'test_split'))
)

# Largest difference between logits, as a fraction of the largest logit. Rounding makes
# 3e-6, as measured; a mistake in a graph makes a thousand times as much.
_TOLERANCE = 1e-4


@in_our_settings()
def export_network(workdir: str, constructor: str, folder: pathlib.Path, run: int) -> None:
    """Writes a network of a finished run for other programs, and prints what was checked.

    The files are ``model.onnx`` (of the project's own CNN only), ``model.stablehlo`` and
    ``model.md``. Nothing is written unless all of them are as they should be.

    Args:
      workdir: Of the run, as in `load_networks`.
      constructor: The function that makes its model, as in `load_networks`.
      folder: Where to write; made if it is missing.
      run: Which network of several, counted from 0 without those that diverged.

    Raises:
      UserError: There is no such network, its test images are absent, a file predicts
        something else than JAX does, or the folder cannot be written to.
    """
    networks = load_networks(workdir, constructor)
    network = _choose(networks, run)
    model, variables = network.model, jax.tree.map(lambda of: of[0], network.variables)
    with workdirs.open_to_read(networks.workdir, 'metrics.json') as opened:
        report = _read_report(opened)
    test = _load_test_images(networks)
    expected = network.logits(test.images)[0]
    # The first image alone, since a batch may have any size.
    starts = [1, *range(_BATCH_SIZE, len(test.images), _BATCH_SIZE)]
    batches = [batch for batch in np.split(test.images, starts) if len(batch)]
    contents: dict[str, bytes] = {}
    checks: dict[str, str] = {}

    def add(name: str, content: bytes, logits: np.ndarray, kind: str) -> None:
        found = compare(name, logits, expected)
        contents[name] = content
        checks[name] = f'{found}; {len(content) / 1e6:.2f} MB, {kind}'

    if type(model) is CNN:
        content = onnx_graph.to_onnx(model, variables, network.image_shape)
        kinds = ', '.join(onnx_graph.list_nodes(content))
        logits = onnx_graph.run_onnx(content, batches)
        add('model.onnx', content, logits, f'nodes {kinds}')
    else:
        require(
            not (folder / 'model.onnx').exists(),
            f'--export_dir: {str(folder)!r} holds the model.onnx of another network, and '
            'none is made of a model of your own; use another folder',
        )
    content = to_stablehlo(model, variables, network.image_shape)
    logits = run_stablehlo(content, batches)
    add('model.stablehlo', content, logits, f'for {", ".join(PLATFORMS)}')
    size = sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
    try:
        card = model_card.write(
            networks.about,
            run,
            size,
            expected,
            test.labels,
            checks,
            report,
            framing_of(networks.about),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f'--workdir: the run does not say how it was trained ({error!r})'
        ) from error
    contents['model.md'] = card.encode()
    flag = '--export_dir'
    workdirs.write(workdirs.prepare(str(folder), flag), contents, flag)
    if networks.num_networks > 1:
        print(
            f'network {run} of {networks.num_networks}, counted from 0; '
            'scripts/predict.py uses the mean of all'
        )
    for name, check in checks.items():
        print(f'{name}: {check}')
    if 'model.onnx' not in contents:
        print('model.onnx: not written; it is made of the CNN of mnist_flax.models only')
    print(f'written to {folder}: {", ".join(contents)}')


def to_stablehlo(model: nn.Module, variables: Any, image_shape: tuple[int, ...]) -> bytes:
    """Writes a network as StableHLO, from uint8 images to logits.

    Returns:
      A file's content, for `jax.export.deserialize`.

    Raises:
      UserError: The network does something that JAX cannot export.
    """

    def apply(image):
        pixels = datasets.normalize(image[None])
        returned = model.apply(variables, pixels, **calls.eval_arguments(model))
        return calls.read_outputs(returned).logits[0].astype(jnp.float32)

    (batch,) = jax_export.symbolic_shape('batch')
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8)
    limit = getattr(jax.config, _LOCATIONS)
    try:
        # In full precision, or a GPU would round products to TF32. And without the paths
        # of source files, which may name the user.
        jax.config.update(_LOCATIONS, 0)
        with jax.default_matmul_precision('float32'):
            # By vmap: a model of your own may use len(images), which is 1 then and not a
            # symbol.
            function = jax_export.export(jax.jit(jax.vmap(apply)), platforms=PLATFORMS)
            return bytes(function(images).serialize())
    except Exception as error:  # a user's own model can raise anything
        raise UserError(
            f'model.stablehlo: jax.export cannot export this network for '
            f'{", ".join(PLATFORMS)} ({first_line(error)})'
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
    """Describes how far a file's logits are from JAX's.

    Raises:
      UserError: A prediction differs, or a logit differs by more than rounding.
    """
    same = int((logits.argmax(axis=1) == expected.argmax(axis=1)).sum())
    difference = float(np.abs(logits - expected).max())
    largest = float(np.abs(expected).max())
    found = (
        f'{same:,} of {len(expected):,} predictions are those of JAX, logits of up to '
        f'{largest:.0f} differ by at most {difference:.1e}'
    )
    allowed = _TOLERANCE * largest
    require(
        same == len(expected) and difference <= allowed,
        f'{name}: {found}; all predictions must be the same and logits may differ by '
        f'{allowed:.1e}; nothing was written',
    )
    return found


def _choose(networks: Networks, run: int) -> Networks:
    """Takes one of the networks, to compute in float32."""
    last = networks.num_networks - 1
    known = f'0 to {last}, the networks that have not diverged' if last else '0'
    require(0 <= run <= last, f'--run: found {run}; allowed: {known}')
    model = networks.model
    if type(model) is CNN:
        model = model.clone(dtype='float32')
    variables = jax.tree.map(lambda of: of[run : run + 1], networks.variables)
    return Networks(networks.workdir, model, variables, networks.about, 'float32')


def _load_test_images(networks: Networks) -> Examples:
    """Loads what the run was tested on."""
    try:
        of_run = networks.about['config']['dataset']
        name, data_dir, split = (
            str(of_run[field]) for field in ('name', 'data_dir', 'test_split')
        )
    except (KeyError, TypeError) as error:
        raise UserError('--workdir: the run does not say which data it used') from error
    test = datasets.load_split(name, data_dir, split, _FIELDS)
    require(
        test.class_names == networks.class_names,
        f'config.dataset.name: {test.full_name} has the classes '
        f'{", ".join(test.class_names)}, but the network has '
        f'{", ".join(networks.class_names)}',
    )
    return test.examples


def _read_report(workdir: pathlib.Path) -> str:
    """Sums up the run's own report; empty if it has none."""
    path = workdir / 'metrics.json'
    if not path.is_file():
        return ''
    try:
        numbers = json.loads(path.read_text())
        return f'{reports.describe_test(numbers)}; {reports.describe(numbers)}'
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f'--workdir: {path} is not the report of a run; restore it, or move it away'
        ) from error
