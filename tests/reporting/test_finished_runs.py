"""``scripts/compare.py``: finished runs side by side."""

import json
import re

import numpy as np
import pytest
from repository import ROOT
from small_configs import small, sweep_of

from mnist_flax.common.errors import UserError
from mnist_flax.reporting import finished_runs
from mnist_flax.train import train_and_evaluate


@pytest.fixture(scope='module')
def workdirs(tmp_path_factory):
    """Runs of each kind; `again` has the same networks as `several`."""
    root = tmp_path_factory.mktemp('finished')
    configs = {
        'single': small(model={'constructor': 'research_parts.Small', 'width': 4}),
        'several': small(runs=3),
        'again': small(runs=3),
        'others': small(runs=3, seed=7),
        'held_out': sweep_of(runs=2),
        'swept': sweep_of(runs=2, sweep={'optimizer': {'learning_rate': (1e-6, 1e-2)}}),
    }
    for name, config in configs.items():
        train_and_evaluate(config, str(root / name))
    return root


def read(root, name):
    return finished_runs.read(str(root / name))


def numbers_of(root, name):
    return json.loads((root / name / 'metrics.json').read_text())


def test_what_is_read_is_what_the_runs_reported(workdirs):
    single, several = read(workdirs, 'single'), read(workdirs, 'several')
    assert (single.name, single.num_parameters, single.num_epochs) == ('single', 3190, 2)
    assert single.accuracies == [numbers_of(workdirs, 'single')['test_accuracy']]
    assert single.ensemble is None
    numbers = numbers_of(workdirs, 'several')
    assert len(several.accuracies) == 3
    assert np.mean(several.accuracies) == pytest.approx(numbers['test_accuracy']['mean'])
    assert several.ensemble == numbers['ensemble']['test_accuracy']
    assert several.minutes == numbers['total_seconds'] / 60


def test_the_digest_tells_whether_networks_are_the_same(workdirs):
    several, again, others = (
        read(workdirs, name).digest for name in ('several', 'again', 'others')
    )
    assert several == again != others
    assert re.fullmatch('[0-9a-f]{12}', others)


@pytest.mark.parametrize('name', ['held_out', 'swept'])
def test_of_runs_with_held_out_images_the_test_accuracy_is_not_read(workdirs, name):
    found, numbers = read(workdirs, name), numbers_of(workdirs, name)
    numbers = numbers.get('chosen', numbers)
    assert found.measured_on == 'held-out'
    assert len(found.accuracies) == 2
    mean = numbers['validation_accuracy']['mean']
    assert np.mean(found.accuracies) == pytest.approx(mean)
    assert mean != numbers['test_accuracy']['mean']
    assert found.ensemble is None


def test_the_table_and_the_figure(workdirs):
    runs = [read(workdirs, name) for name in ('several', 'single', 'held_out')]
    lines = finished_runs.to_markdown(runs).splitlines()
    cells = [re.split(r' *\| *', line)[1:-1] for line in lines[:5]]
    assert cells[0][:6] == [
        'run', 'parameters', 'epochs', 'n', 'held-out accuracy, %', 'test accuracy, %'
    ]  # fmt: skip
    # Those of few parameters first.
    assert [row[0] for row in cells[2:]] == ['single', 'several', 'held_out']
    assert cells[2][1:7] == [
        '3,190', '2', '1', '–', f'{100 * runs[1].accuracies[0]:.2f}', '–'
    ]  # fmt: skip
    mean, sd = np.mean(runs[0].accuracies), np.std(runs[0].accuracies, ddof=1)
    assert cells[3][4:6] == ['–', f'{100 * mean:.2f} ± {100 * sd:.2f}']
    # Student's t with 2 degrees of freedom.
    assert cells[3][6] == '{:.2f} to {:.2f}'.format(
        *(100 * (mean + sign * 4.30265 * sd / 3**0.5) for sign in (-1, 1))
    )
    assert cells[4][5] == '–'
    figure = finished_runs.plot(runs)
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert labels == {'single', 'several', 'held_out'}


def test_the_command_and_what_it_says_of_bad_input(workdirs, command, tmp_path):
    paths = [workdirs / 'single', workdirs / 'several']
    process = command(ROOT / 'scripts/compare.py', *paths, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    written = tmp_path / 'outputs/comparison'
    assert process.stdout.startswith((written / 'comparison.md').read_text())
    assert (written / 'comparison.png').stat().st_size > 10_000
    with pytest.raises(UserError, match=r"^WORKDIR: '.*absent' holds no finished run"):
        read(tmp_path, 'absent')
    (tmp_path / 'metrics.json').write_text('[]')
    with pytest.raises(UserError, match=r'^WORKDIR: .*metrics.json is not the report'):
        finished_runs.read(str(tmp_path))
