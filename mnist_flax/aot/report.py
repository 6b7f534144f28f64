"""What a config's programs would be on devices that are not here."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import ml_collections

from mnist_flax.aot import operations
from mnist_flax.common import backend, tables
from mnist_flax.training.groups import Groups, Programs
from mnist_flax.training.plan import Plan, make_plans

_MIB, _GIB, _GIGA = 2**20, 2**30, 1e9


class Compilation(NamedTuple):
    """The programs of a plan, compiled."""

    plan: Plan
    runs_at_once: int  # on all devices
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
        for plan in make_plans(config):
            start = time.perf_counter()
            groups = Groups(plan)
            programs = groups.fit()
            seconds = time.perf_counter() - start
            yield Compilation(plan, groups.size, programs, described.memory, seconds)


def write(compilation: Compilation) -> str:
    """Writes a table of what the compiler says."""
    plan, at_once, programs, memory, seconds = compilation
    hlo = programs.epoch.as_text() or ''
    counts = operations.count_operations(hlo)
    groups = operations.count_groups(hlo)
    sizes: Any = programs.epoch.memory_analysis()
    on_each = -(-at_once // plan.mesh.shape['run'])  # runs on each device
    temporary = sizes.temp_size_in_bytes / _MIB
    kinds = ', '.join(f'{number:,} {kind}' for kind, number in counts.most_common(4))
    rows = [
        ['runs', f'{len(plan.runs):,}, {at_once:,} at once, {on_each:,} on each device'],
        [
            'memory of a device',
            f'{programs.num_bytes / _GIB:.2f} of {memory / _GIB:.1f} GiB; training needs '
            f'{temporary:,.1f} MiB beside its arrays',
        ],
        ['a step', f'{counts.total():,} operations: {kinds}'],
        *(
            ['', f'{number} convolutions of {size:,} groups, which are slow']
            for size, number in groups.items()
        ),
        *([['', text]] if (text := _write_costs(compilation)) else []),
        ['compiled in', f'{seconds:.0f} s'],
    ]
    return tables.to_columns(rows)


def _write_costs(compilation: Compilation) -> str:
    """Writes the compiler's own estimates for a step, which not all compilers give."""
    plan, at_once, programs, *_ = compilation
    costs = programs.epoch.cost_analysis() or {}
    # The compiler counts a loop's body once: steps, but also the parts of a batch.
    if costs.get('flops', 0) <= 0 or plan.recipe.microbatch_size:
        return ''
    text = f'{costs["flops"] / _GIGA:.2f} GFLOP, {costs["bytes accessed"] / _GIGA:.2f} GB'
    step = costs.get('optimal_seconds', 0)
    if step <= 0:  # it overflows for large programs
        return text
    num_groups = -(-len(plan.runs) // at_once)
    total = step * plan.num_steps * num_groups
    return f'{text}, {step * 1e3:.3f} ms by its estimate; all epochs {total:,.1f} s'


def describe_devices(chip: str, described: backend.Described) -> str:
    """Names the devices in one line."""
    num_devices, num_hosts = len(described.devices), _count_hosts(described)
    noun = 'device' if num_devices == 1 else 'devices'
    return f'{chip}, {num_devices} {noun}' + (f' of {num_hosts} hosts' * (num_hosts > 1))


def explain_hosts(config: ml_collections.ConfigDict, described: backend.Described) -> str:
    """Says where the run itself would do otherwise; empty if it would not."""
    if _count_hosts(described) == 1 or (config.runs == 1 and not config.sweep):
        return ''
    return (
        'note: compiled as if the hosts divided the runs; mnist_flax.main has all of them '
        'share each run'
    )


def _count_hosts(described: backend.Described) -> int:
    return len({device.process_index for device in described.devices})
