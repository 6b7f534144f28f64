"""3x3 convolution for a 2x2 max-pool, in the form that XLA's CPU backend runs best.

`direct` and `winograd` compute what XLA's convolution does, up to rounding, but only those
outputs that reach the pool: as four arrays, one for each corner of the 2x2 windows.

The form follows from profiles (docs/performance.md): arrays stay apart in lists where
stacking would copy them, and `_store` marks what is to be computed once. A tile is a square
of inputs; a grid holds, by row and column, an array for each place in all tiles.
"""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# For `jax.jit`. XLA's CPU pipeline drops optimization barriers before it fuses, and then
# recomputes cheap producers in every consumer: 1.5x the time of a step, 2x to compile.
# Vectors of 512 bits, where a CPU has them, take 0.92x the time of the usual 256.
COMPILER_OPTIONS = {
    'xla_disable_hlo_passes': 'cse_barrier_expander',
    'xla_cpu_prefer_vector_width': 512,
}

# With fewer input channels Winograd's transforms cost more than the products they save.
FEW_CHANNELS = 8

# Row and column of a window's corners, in the order in which the first maximum is sought.
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))

Corners: TypeAlias = list[Float[Array, 'batch pooled_height pooled_width features']]
Grid: TypeAlias = list[list[Array]]
Matrix: TypeAlias = Sequence[Sequence[Fraction]]

_store = lax.optimization_barrier

# Traced once for each shape; the program is the same as without. The hundreds of sums of
# Winograd's transforms would else take 0.4 s of each start, and as long in each test.
_trace_once = functools.partial(jax.jit, inline=True)


# --- For few input channels: a sum of nine shifted images.


@jax.custom_vjp
def direct(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, '3 3 channels features'],
) -> Corners:
    """Convolves by adding up shifted inputs, each times its weight.

    XLA turns this into one loop over the outputs. As a product of patches and kernel, which
    copies the patches, the first layer takes twice the time.
    """
    return _direct_forward(x, kernel)[0]


@_trace_once
def _direct_forward(x, kernel):
    tiles = _store(_cut(x, _windows(x)))
    corners = [
        sum(
            tiles[row + i][column + j][..., channel, None] * kernel[i, j, channel]
            for i, j, channel in np.ndindex(kernel.shape[:3])
        )
        for row, column in CORNERS
    ]
    return corners, (x, kernel, tiles)


@_trace_once
def _direct_backward(residuals, dcorners):
    x, kernel, tiles = residuals
    # Stored as vectors: masking, which is fused into this, takes 0.2 of the time then.
    vectors = _store([dcorner.reshape(-1) for dcorner in dcorners])
    dcorners = [vector.reshape(dcorners[0].shape) for vector in vectors]
    places = _store(
        jnp.stack([jnp.moveaxis(place, -1, 0) for row in tiles for place in row])
    ).reshape(16 * x.shape[-1], -1)
    dkernel = jnp.zeros(kernel.shape, kernel.dtype)
    dtiles = [[jnp.zeros((), x.dtype)] * 4 for _ in range(4)]
    for (row, column), dcorner in zip(CORNERS, dcorners, strict=True):
        # All sixteen places at once, though a corner uses nine: the product is faster.
        dplaces = (places @ _flatten(dcorner)).reshape(4, 4, *kernel.shape[2:])
        dkernel += dplaces[row : row + 3, column : column + 3]
        for i, j in np.ndindex(3, 3):
            dtiles[row + i][column + j] += dcorner @ kernel[i, j].T
    return _paste(dtiles, _windows(x)), dkernel


direct.defvjp(_direct_forward, _direct_backward)


# --- For many input channels: Winograd's minimal filtering.


@jax.custom_vjp
def winograd(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, '3 3 channels features'],
) -> Corners:
    """Convolves tile by tile as Y = A'[(G g G') * (B' d B)]A, summed over channels.

    Of the default model's second layer 10x10 outputs reach the pool: four tiles of 5x5, for
    which 196 products of channels and features replace 900.

    Source: Winograd's minimal filtering as in Lavin & Gray, Fast Algorithms for
    Convolutional Neural Networks (2016), arXiv:1509.09308.
    """
    return _winograd_forward(x, kernel)[0]


@_trace_once
def _winograd_forward(x, kernel):
    rows, columns = tilings = _tilings(x)
    vertical, horizontal = (transforms(tiling.step) for tiling in tilings)
    # The transform of the inputs, down and then along, with the cuts in between.
    halfway = _store(_combine(vertical.inputs, rows.cut(x, 1)))
    inputs = [_combine(horizontal.inputs, columns.cut(row, 2)) for row in halfway]
    shape = inputs[0][0].shape
    inputs = _store(_map(_flatten, inputs))
    filters = _store(_transform(vertical.kernel, horizontal.kernel, [*map(list, kernel)]))
    products = _store(_map(jnp.matmul, inputs, filters))
    products = _map(lambda product: product.reshape(*shape[:-1], -1), products)
    outputs = _transform(vertical.outputs, horizontal.outputs, products)
    y = _store(interleave([interleave(row, 2) for row in outputs], 1))
    height, width = (2 * tiling.windows for tiling in tilings)
    corners = [y[:, row:height:2, column:width:2] for row, column in CORNERS]
    return corners, (x, inputs, filters)


@_trace_once
def _winograd_backward(residuals, dcorners):
    x, inputs, filters = residuals
    rows, columns = tilings = _tilings(x)
    vertical, horizontal = (transforms(tiling.step).transpose() for tiling in tilings)
    dy = interleave([interleave(dcorners[:2], 2), interleave(dcorners[2:], 2)], 1)
    for axis, tiling in enumerate(tilings, start=1):
        dy = _pad(dy, axis, 0, tiling.num_tiles * tiling.step - dy.shape[axis])
    dy = _store(dy)
    doutputs = [
        [dy[:, i :: rows.step, j :: columns.step] for j in range(columns.step)]
        for i in range(rows.step)
    ]
    dproducts = _transform(vertical.outputs, horizontal.outputs, doutputs)
    shape = (*dproducts[0][0].shape[:-1], x.shape[-1])
    dproducts = _store(_map(_flatten, dproducts))
    dfilters = _map(lambda a, b: a.T @ b, inputs, dproducts)
    dkernel = _transform(vertical.kernel, horizontal.kernel, dfilters)
    dinputs = _map(lambda a, b: (a @ b.T).reshape(shape), dproducts, filters)
    dhalfway = _store(
        [columns.paste(_combine(horizontal.inputs, row), 2) for row in _store(dinputs)]
    )
    dx = _store(rows.paste(_combine(vertical.inputs, dhalfway), 1))
    return dx, jnp.stack([jnp.stack(row) for row in dkernel])


winograd.defvjp(_winograd_forward, _winograd_backward)


class Transforms(NamedTuple):
    """The matrices of F(n, 3), n outputs of a one-dimensional filter of three weights."""

    inputs: Matrix  # B', (n + 2, n + 2)
    kernel: Matrix  # G, (n + 2, 3)
    outputs: Matrix  # A', (n, n + 2)

    def transpose(self) -> 'Transforms':
        """Transposes each matrix, for the gradient."""
        return Transforms(*(list(zip(*matrix, strict=True)) for matrix in self))


# Points of interpolation besides infinity. Small ones round least: the relative error
# (rms, 32 channels) is 2e-7 for n = 2, 1e-6 for 4 and 2e-6 for 5; the sum's own is 1e-7.
_POINTS = {
    2: (0, 1, -1),
    4: (0, 1, -1, 2, -2),
    5: (0, 1, -1, 2, -2, Fraction(1, 2)),
}


@functools.cache
def transforms(n: int) -> Transforms:
    """Derives the matrices of F(n, 3) by the Toom-Cook method.

    The filter is the transpose of a product of polynomials, which is found by multiplying
    their values at n + 2 points and interpolating (Lavin & Gray, section 4).
    """
    points = [Fraction(point) for point in _POINTS[n]]
    zero, one = Fraction(0), Fraction(1)
    inputs, kernel = [], []
    for point in points:
        others = [other for other in points if other != point]
        inputs.append([*_polynomial(others), zero])
        scale = math.prod(point - other for other in others)
        kernel.append([point**power / scale for power in range(3)])
    inputs.append(_polynomial(points))
    kernel.append([zero, zero, one])
    outputs = [
        [*(point**power for point in points), one if power == n - 1 else zero]
        for power in range(n)
    ]
    return Transforms(inputs, kernel, outputs)


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Multiplies out (x - root) over all roots; the constant coefficient comes first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*coefficients, Fraction(0)]
        coefficients = [a - root * b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def _transform(
    vertical: Matrix, horizontal: Matrix, grid: Sequence[Sequence[Array]]
) -> Grid:
    """Multiplies the grid's columns with one matrix, then its rows with the other."""
    # As vectors, for which XLA's CPU backend writes better loops than for several axes.
    shape = grid[0][0].shape
    grid = _map(lambda array: array.reshape(-1), grid)
    halfway = _store([_combine(vertical, column) for column in zip(*grid, strict=True)])
    combined = [_combine(horizontal, row) for row in zip(*halfway, strict=True)]
    return _map(lambda array: array.reshape(shape), combined)


def _combine(matrix: Matrix, arrays: Sequence[Array]) -> list[Array]:
    """Multiplies a matrix with a vector of arrays, without the terms that are zero."""
    return [
        functools.reduce(
            jnp.add,
            [
                array if weight == 1 else float(weight) * array
                for weight, array in zip(row, arrays, strict=True)
                if weight
            ],
        )
        for row in matrix
    ]


def _map(function, *grids: Sequence[Sequence[Array]]) -> Grid:
    return [list(map(function, *rows)) for rows in zip(*grids, strict=True)]


def _flatten(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


# --- Tiles.


class Tiling(NamedTuple):
    """Covers an axis by ``num_tiles`` tiles of ``step + 2`` elements, ``step`` apart."""

    size: int  # elements on the axis
    step: int
    num_tiles: int

    @property
    def windows(self) -> int:
        """Number of pooling windows on the axis."""
        return (self.size - 2) // 2

    def cut(self, x: Array, axis: int) -> list[Array]:
        """Lists the first elements of all tiles, then the second ones, and so on."""
        end = (self.num_tiles - 1) * self.step + 1
        x = _pad(x, axis, 0, max(0, end + self.step + 1 - self.size))
        return [
            lax.slice_in_dim(x, i, i + end, self.step, axis) for i in range(self.step + 2)
        ]

    def paste(self, pieces: Sequence[Array], axis: int) -> Array:
        """Transposes `cut`: puts elements back, and adds up those in two tiles."""
        body = [_pad(piece, axis, 0, 1) for piece in pieces[: self.step]]
        for i, piece in enumerate(pieces[self.step :]):
            body[i] += _pad(piece, axis, 1, 0)
        x = interleave(body, axis)
        x = lax.slice_in_dim(x, 0, min(self.size, x.shape[axis]), axis=axis)
        return _pad(x, axis, 0, self.size - x.shape[axis])


def _tilings(x: Array) -> tuple[Tiling, Tiling]:
    """Chooses the tiles of both axes that take the fewest products."""

    def choose(size: int) -> Tiling:
        outputs = (size - 2) // 2 * 2
        candidates = [Tiling(size, step, -(-outputs // step)) for step in _POINTS]
        return min(candidates, key=lambda tiling: tiling.num_tiles * (tiling.step + 2))

    return choose(x.shape[1]), choose(x.shape[2])


def _windows(x: Array) -> tuple[Tiling, Tiling]:
    """Takes a tile for each pooling window."""
    height, width = x.shape[1:3]
    return Tiling(height, 2, (height - 2) // 2), Tiling(width, 2, (width - 2) // 2)


def _cut(x: Array, tilings: tuple[Tiling, Tiling]) -> Grid:
    return [tilings[1].cut(row, 2) for row in tilings[0].cut(x, 1)]


def _paste(grid: Grid, tilings: tuple[Tiling, Tiling]) -> Array:
    return tilings[0].paste([tilings[1].paste(row, 2) for row in grid], 1)


def interleave(arrays: Sequence[Array], axis: int) -> Array:
    """Puts the first elements on an axis side by side, then the second ones, and so on."""
    x = jnp.stack(arrays, axis + 1)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _pad(x: Array, axis: int, before: int, after: int) -> Array:
    widths = [(before, after) if i == axis else (0, 0) for i in range(x.ndim)]
    return jnp.pad(x, widths)
