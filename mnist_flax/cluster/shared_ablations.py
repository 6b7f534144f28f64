"""An ablation as what workers train: its rows, and the table."""

import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections

from mnist_flax.ablation import ablation, report, variants
from mnist_flax.ablation.report import RECIPE, Row
from mnist_flax.checkpointing import workdirs
from mnist_flax.cluster.jobs import Finished, Job
from mnist_flax.cluster.working import Program
from mnist_flax.common.errors import UserError, require
from mnist_flax.training.plan import describe
from mnist_flax.training.results import RunResult

_ROWS = 'rows.csv'  # of a group


class Ablation(Job):
    """Variants of a recipe, each with the seeds 0, 1, ..."""

    field = 'config.recipe.runs_at_once'
    report = 'ablation.md'
    is_shown = False

    def __init__(
        self, config: ml_collections.ConfigDict, num_seeds: int, names: Sequence[str] = ()
    ):
        """Takes the arguments of `ablate`.

        Raises:
          UserError: The config is not that of an ablation, or has no such variant.
        """
        configs = variants.make_configs(config)
        wanted = variants.choose_variants(configs, names)
        self._configs = {name: configs[name] for name in wanted}
        self._num_seeds = num_seeds
        self.config = configs[RECIPE]

    def plan(self) -> list[Program]:
        """Makes a program of each variant, the recipe first."""
        plans = variants.make_plans(self._configs, [*self._configs], self._num_seeds)
        return [
            Program(name, plan, variants.describe(self._configs[name], plan.dataset))
            for name, plan in plans.items()
        ]

    def describe(self, programs: Sequence[Program]) -> dict[str, Any]:
        """Returns the config of each variant, and the number of seeds."""
        settings = {
            f'variant {of.prefix}': describe(self._configs[of.prefix], [of.plan])
            for of in programs
        }
        return {**settings, '--seeds': self._num_seeds}

    def save(
        self,
        program: Program,
        folder: pathlib.Path,
        results: list[RunResult],
        seconds: dict[str, float],
    ) -> None:
        """Writes the rows of the runs, and prints their accuracies."""
        rows = [ablation.to_row(program.prefix, program.plan, of) for of in results]
        workdirs.write(folder, {_ROWS: report.to_csv(rows).encode()})
        accuracies = ', '.join(
            f'seed {row.seed} {row.validation_accuracy:.2%}' for row in rows
        )
        print(f'{program.prefix}: held-out accuracy {accuracies}', flush=True)

    def write_report(
        self,
        folder: pathlib.Path,
        programs: Sequence[Program],
        groups: Sequence[Finished],
        environment: dict[str, Any],
    ) -> str:
        """Writes the table that a single process would have written, but for times.

        Returns:
          The contents of ``ablation.md``.

        Raises:
          UserError: No run of the recipe is finished.
        """
        rows = [row for group in groups for row in _read(group)]
        require(
            any(row.variant == RECIPE for row in rows),
            f'--gather: no run of the recipe in {folder} is finished yet, with which '
            'variants could be compared',
        )
        trees = {program.prefix: program.settings for program in programs}
        ablation.write_results(folder, trees, rows)
        return ablation.write_report(programs[0].plan, [*trees], rows, folder)


def _read(group: Finished) -> list[Row]:
    path, program = group.folder / _ROWS, group.program
    try:
        rows = report.from_csv(path.read_text(), str(path))
    except (OSError, ValueError) as error:
        raise UserError(f'--workdir: cannot read {path} ({error})') from error
    expected = [(program.prefix, program.plan.runs[i].seed) for i in group.runs]
    require(
        [(row.variant, row.seed) for row in rows] == expected,
        f'--workdir: {path} does not have the runs that its folder names; restore it from '
        'a copy, or use another folder',
    )
    return rows
