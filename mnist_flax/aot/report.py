"""What a config's programs would be on devices that are not here."""

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import ml_collections

from mnist_flax.aot import operations
from mnist_flax.common import backend, tables, waiting
from mnist_flax.training import devices, gradients
from mnist_flax.training.groups import Groups, Programs
from mnist_flax.training.plan import Plan, make_plans

_MIB, _GIB, _GIGA = 2**20, 2**30, 1e9


class Compilation(NamedTuple):
    """The programs of a plan, compiled."""

    plan: Plan
    groups: Groups
    programs: Programs
    memory: float  # bytes that JAX may use on each device
    seconds: float  # that it took to compile


def compile_for(
    config: ml_collections.ConfigDict, described: backend.Described
) -> Iterator[Compilation]:
    """Compiles what a config would train with, for each program that it needs.

    Args:
      config: The settings.
      described: The devices, see `chips.describe`.

    Raises:
      UserError: The config, the data or the devices are not usable, or not even one run
        fits in their memory.
    """
    with backend.assume(described):
        plans = make_plans(config)
    for i, plan in enumerate(plans, start=1):
        waiting.say(f'compiling program {i} of {len(plans)}, which can take minutes')
        start = time.perf_counter()
        # Not round the yield, where it would hold for the caller too.
        with backend.assume(described):
            groups = Groups(plan)
            programs = groups.fit()
        seconds = time.perf_counter() - start
        yield Compilation(plan, groups, programs, described.memory, seconds)


def write(compilation: Compilation) -> str:
    """Writes a table of what the compiler says."""
    plan, groups, programs, memory, seconds = compilation
    sizes: Any = programs.epoch.memory_analysis()
    on_each = groups.size // groups.mesh.shape[devices.RUN]
    rows = [
        [
            'runs',
            f'{len(plan.runs):,}, {groups.size:,} at once, {on_each:,} on each device',
        ],
        [
            'memory of a device',
            f'{programs.num_bytes / _GIB:.2f} of {memory / _GIB:.1f} GiB; training needs '
            f'{sizes.temp_size_in_bytes / _MIB:,.1f} MiB beside its arrays',
        ],
        *(
            ['' if i else 'a step', text]
            for i, text in enumerate(_describe_step(compilation))
        ),
        ['compiled in', f'{seconds:.0f} s'],
    ]
    return tables.to_columns(rows)


def _describe_step(compilation: Compilation) -> Iterator[str]:
    plan, groups, programs, *_ = compilation
    hlo = programs.epoch.as_text() or ''
    # A loop of one pass is none, and one within a step repeats what is counted once.
    num_parts = gradients.count_parts(
        plan.settings.batch_size // groups.mesh.shape[devices.DATA],
        plan.recipe.microbatch_size,
    )
    if plan.steps_per_epoch == 1 or num_parts > 1:
        return
    counts = operations.count_operations(hlo)
    kinds = ', '.join(f'{number:,} {kind}' for kind, number in counts.most_common(4))
    yield f'{counts.total():,} operations: {kinds}'
    for size, number in operations.count_groups(hlo).items():
        yield f'convolutions of {size:,} groups: {number}'
    costs = programs.epoch.cost_analysis() or {}
    if costs.get('flops', 0) <= 0:  # GPUs' compiler gives none
        return
    text = f'{costs["flops"] / _GIGA:.3g} GFLOP, {costs["bytes accessed"] / _GIGA:.3g} GB'
    step = costs.get('optimal_seconds', 0)
    if step > 0:  # it overflows for large programs
        total = step * plan.num_steps * math.ceil(len(plan.runs) / groups.size)
        text += f', {step * 1e3:.3f} ms by its estimate; all epochs {total:,.3g} s'
    yield text


def describe_devices(chip: str, described: backend.Described) -> str:
    """Names the devices in one line."""
    num_devices, num_hosts = len(described.devices), described.num_hosts
    noun = 'device' if num_devices == 1 else 'devices'
    return f'{chip}, {num_devices} {noun}' + (f' of {num_hosts} hosts' * (num_hosts > 1))
