"""Profiles: a trace for TensorBoard and Perfetto, and the dearest operations in it."""

import contextlib
import pathlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import jax

from mnist_flax.profiling.hlo_names import Instruction, read_programs

# Of an epoch so many steps, or a few more, are traced. On a CPU a step has 1,160 events on
# each device: to write those of 469 steps takes as long as the epoch, and Perfetto would
# have to load 130 MB.
NUM_STEPS = 40

# These last as long as what they call, which is counted by itself.
_CONTAINERS = ('while', 'call', 'conditional')

# Seconds of each call of each instruction, by the module's name and number.
_Executed: TypeAlias = dict[tuple[str, int], dict[str, list[float]]]


class Operation(NamedTuple):
    """Instructions of compiled programs that come from the same part of a model."""

    name: str  # JAX's, such as 'transpose(jvp(CNN))/Dense_0/dot_general'
    what: str  # names of the instructions in the trace
    calls: int
    seconds: float  # summed over calls, threads and devices
    share: float  # of the seconds of all operations


@contextlib.contextmanager
def trace(folder: pathlib.Path) -> Iterator[None]:
    """Writes a trace of what is computed within the context.

    Args:
      folder: Where to write it. In ``plugins/profile/<time>`` there, ``*.xplane.pb`` is for
        TensorBoard and ``perfetto_trace.json.gz`` for Perfetto.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python's own functions would only slow it down
    jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
    try:
        yield
    finally:
        jax.profiler.stop_trace()


def dearest_operations(folder: pathlib.Path, count: int = 10) -> list[Operation]:
    """Finds the operations that took most time in the newest trace of a folder.

    Args:
      folder: That of `trace`.
      count: How many to return.

    Returns:
      The operations, the dearest first; none if the trace holds none.
    """
    serialized = max(folder.glob('plugins/profile/*/*.xplane.pb')).read_bytes()
    executed = _read_executed(serialized)
    programs = list(read_programs(serialized, {module for module, _ in executed}))
    calls: dict[str, int] = defaultdict(int)
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for (module, _), durations in executed.items():
        # Programs can have the same name, and their numbers are no help: that of one from
        # the compilation cache changes. So the names of instructions decide.
        candidates = [of for name, of in programs if name == module]
        known = max(
            candidates, key=lambda of: len(of.keys() & durations.keys()), default={}
        )
        for instruction, each in durations.items():
            opcode, name = known.get(instruction) or _guess(instruction)
            if opcode not in _CONTAINERS:
                calls[name] += len(each)
                seconds[name][instruction] += sum(each)
    totals = {name: sum(of.values()) for name, of in seconds.items()}
    return [
        Operation(
            name,
            _describe(seconds[name]),
            calls[name],
            totals[name],
            totals[name] / sum(totals.values()),
        )
        for name in sorted(totals, key=lambda name: (-totals[name], name))[:count]
    ]


def to_text(operations: Sequence[Operation]) -> str:
    """Writes operations as an aligned table, a line each."""
    rows = [('share', 'seconds', 'calls', 'operation', 'in the trace')]
    rows += [
        (f'{of.share:.1%}', f'{of.seconds:.3f}', f'{of.calls:,}', of.name, of.what)
        for of in operations
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for *numbers, name, what in rows:
        cells = [of.rjust(width) for of, width in zip(numbers, widths, strict=False)]
        lines.append('  '.join([*cells, name.ljust(widths[3]), what]))
    return '\n'.join(lines)


def _read_executed(serialized: bytes) -> _Executed:
    planes = list(jax.profiler.ProfileData.from_serialized_xspace(serialized).planes)
    # A CPU's computations are on its threads, among what else the host does. Where there
    # are other devices, the host only starts theirs.
    devices = [plane for plane in planes if plane.name.startswith('/device:')]
    executed: _Executed = {}
    for plane in devices or planes:
        lines = list(plane.lines)
        # If there is such a line, others repeat it, for whole modules and steps.
        for line in [of for of in lines if of.name == 'XLA Ops'] or lines:
            for event in line.events:
                stats = dict(event.stats)
                # On a GPU, a kernel of a CUDA graph does not say what it belongs to.
                instruction = stats.get('hlo_op', event.name if devices else None)
                if instruction is not None:
                    program = str(stats.get('hlo_module')), int(stats.get('program_id', 0))
                    durations = executed.setdefault(program, {})
                    durations.setdefault(str(instruction), []).append(
                        event.duration_ns / 1e9
                    )
    return executed


def _guess(instruction: str) -> Instruction:
    """Takes an instruction, whose program is not in the trace, for what its name says."""
    name = instruction.split('.')[0]
    return Instruction(name, name)


def _describe(seconds: dict[str, float]) -> str:
    dearest = max(seconds, key=lambda name: seconds[name])
    return dearest + (f' and {len(seconds) - 1} more' if len(seconds) > 1 else '')
