"""``scripts/compare.py``: finished runs side by side."""

import json
import re
import shutil

import pytest
from repository import ROOT
from small_configs import small, sweep_of

from mnist_flax.common import intervals
from mnist_flax.common.errors import UserError
from mnist_flax.common.intervals import Summary
from mnist_flax.reporting import finished_runs
from mnist_flax.train import train_and_evaluate


@pytest.fixture(scope='module')
def workdirs(tmp_path_factory):
    """Runs of each kind; `again` has the same networks as `several`."""
    root = tmp_path_factory.mktemp('finished')
    configs = {
        'single': small(model={'constructor': 'research_parts.Small', 'width': 4}),
        'several': small(runs=3),
        'again/several': small(runs=3),
        'others': small(runs=3, seed=7),
        'held_out': sweep_of(runs=2),
        'one_held_out': sweep_of(),
        'swept': sweep_of(sweep={'optimizer': {'learning_rate': (1e-6, 1e-2)}}),
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
    assert (single.num_parameters, single.num_epochs, single.accuracy.n) == (3190, 2, 1)
    assert single.accuracy.mean == numbers_of(workdirs, 'single')['test_accuracy']
    assert single.ensemble is None
    numbers = numbers_of(workdirs, 'several')
    assert (several.accuracy.n, several.num_diverged) == (3, 0)
    expected = numbers['test_accuracy']
    assert several.accuracy.mean == expected['mean']
    interval = [several.accuracy.low, several.accuracy.high]
    assert interval == expected['mean_95_percent_interval']
    assert several.ensemble == numbers['ensemble']['test_accuracy']
    assert several.minutes == numbers['total_seconds'] / 60


def test_a_workdir_is_named_by_its_last_folder_however_it_is_written(workdirs):
    single = read(workdirs, 'single')
    assert read(workdirs, 'several/../single/') == single
    in_bucket = single._replace(workdir='s3://bucket/run')
    assert '| run |' in finished_runs.to_markdown([in_bucket])
    with pytest.raises(UserError, match="'memory://bucket/run' holds no finished run"):
        finished_runs.read('memory://bucket//run/')


def test_the_digest_tells_whether_networks_are_the_same(workdirs):
    names = ('several', 'again/several', 'others')
    several, again, others = (read(workdirs, name).digest for name in names)
    assert several == again != others
    assert re.fullmatch('[0-9a-f]{12}', others)


@pytest.mark.parametrize('name', ['held_out', 'one_held_out'])
def test_of_runs_with_held_out_images_the_test_accuracy_is_not_read(workdirs, name):
    found, numbers = read(workdirs, name), numbers_of(workdirs, name)
    held_out, test = (numbers[f'{of}_accuracy'] for of in ('validation', 'test'))
    assert found.measured_on == 'held-out'
    assert found.accuracy.mean == (held_out['mean'] if name == 'held_out' else held_out)
    assert held_out != test
    assert found.ensemble is None


def split(line):
    return re.split(r' *\| *', line)[1:-1]


def test_the_table(workdirs):
    runs = [read(workdirs, name) for name in ('several', 'single', 'held_out')]
    header, _, *lines = finished_runs.to_markdown(runs).splitlines()[:5]
    assert split(header)[:6] == [
        'run', 'parameters', 'epochs', 'n', 'held-out accuracy, %', 'test accuracy, %'
    ]  # fmt: skip
    single, several, held_out = map(split, lines)  # those of few parameters first
    accuracy = f'{100 * runs[1].accuracy.mean:.2f}'
    assert single[:7] == ['single', '3,190', '2', '1', '–', accuracy, '–']
    mean, sd = runs[0].accuracy.mean, runs[0].accuracy.sd
    assert several[4:6] == ['–', f'{100 * mean:.2f} ± {100 * sd:.2f}']
    # Student's t with 2 degrees of freedom.
    assert several[6] == '{:.2f} to {:.2f}'.format(
        *(100 * (mean + sign * 4.30265 * sd / 3**0.5) for sign in (-1, 1))
    )
    assert several[7:] == [
        f'{100 * runs[0].ensemble:.2f}', f'{runs[0].minutes:.1f}', runs[0].digest
    ]  # fmt: skip
    assert (held_out[0], held_out[5], held_out[7]) == ('held_out', '–', '–')


def test_what_a_table_has_to_say_of_odd_runs(workdirs):
    several, again, single = (
        read(workdirs, name) for name in ('several', 'again/several', 'single')
    )
    odd = single._replace(
        accuracy=Summary(2, 0.999, 0.001, 0.998, 1.0, 0.98, 1.1), num_diverged=1,
        environment='another machine',
    )  # fmt: skip
    text = finished_runs.to_markdown([several, again, odd])
    assert '| 2 (1 diverged) | 99.90 ± 0.10 | 98.00 to 100.00 |' in text
    # Two of the same name, and of two machines.
    for run in (several, again):
        assert f'| {run.workdir} |' in text
    assert text.endswith('single: another machine\n')


def test_the_figure_shows_each_run_where_it_belongs(workdirs):
    names = ('several', 'single', 'held_out')
    runs = [read(workdirs, name) for name in names]
    runs[0] = runs[0]._replace(accuracy=Summary(3, 0.98, 0.02, 0.97, 1.0, 0.95, 1.01))
    runs[1] = runs[1]._replace(accuracy=intervals.summarize([1.0]))
    (axes,) = finished_runs.plot(runs).axes
    shown = {text.get_text(): text.xy for text in axes.texts}
    assert shown == {
        name: (run.num_parameters, 100 * run.accuracy.mean)
        for name, run in zip(names, runs, strict=True)
    }
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert all(left < x < right and low < y < high for x, y in shown.values())
    markers = {
        container.get_label().partition(' ')[0]: container.lines[0].get_xydata().tolist()
        for container in axes.containers
    }
    assert {kind: len(points) for kind, points in markers.items()} == {
        'held-out': 1, 'test': 2
    }  # fmt: skip
    assert markers['held-out'] == [[*shown['held_out']]]
    held_out, test = (
        [(low[1], high[1]) for low, high in container.lines[2][0].get_segments()]
        for container in axes.containers
    )
    accuracy = runs[2].accuracy
    assert held_out == [pytest.approx((100 * accuracy.low, 100 * accuracy.high))]
    # One run has no interval, and no accuracy is above 100 %.
    assert test == [pytest.approx((100, 100)), pytest.approx((95, 100))]


def test_the_command(workdirs, command, tmp_path):
    (tmp_path / 'link').symlink_to(workdirs / 'single')
    paths = ['link', workdirs / 'several', f'{workdirs}/single/']
    process = command(ROOT / 'scripts/compare.py', *paths, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    written = tmp_path / 'outputs/comparison'
    assert process.stdout.startswith((written / 'comparison.md').read_text())
    assert process.stdout.count('| single |') == 1
    assert (written / 'comparison.png').stat().st_size > 10_000


def test_what_cannot_be_compared_is_one_line(workdirs, tmp_path):
    with pytest.raises(UserError, match=r"^WORKDIR: '.*absent' holds no finished run"):
        read(tmp_path, 'absent')
    with pytest.raises(UserError, match=r"^WORKDIR: '.*swept' is a sweep, whose runs.md"):
        read(workdirs, 'swept')
    shutil.copytree(workdirs / 'single', tmp_path / 'damaged')
    (tmp_path / 'damaged/metrics.json').write_text('[]')
    with pytest.raises(UserError, match=r"^WORKDIR: .* in '.*damaged' are not the report"):
        read(tmp_path, 'damaged')
    single = read(workdirs, 'single')
    other = single._replace(workdir='other', images='clothes/1.0.0, test')
    with pytest.raises(UserError, match='of different images: .*single of mnist/3.0.1, te'):
        finished_runs.check([single, other])
    finished_runs.check([single, read(workdirs, 'held_out')])


def test_another_data_set_of_the_same_name_is_not_compared(workdirs, tmp_path):
    runs = []
    for digest in ('a' * 64, 'b' * 64):
        folder = tmp_path / digest[0]
        shutil.copytree(workdirs / 'single', folder)
        config = json.loads((folder / 'config.json').read_text())
        config['dataset']['sha256'] = digest
        (folder / 'config.json').write_text(json.dumps(config))
        runs.append(finished_runs.read(str(folder)))
    message = (
        '^WORKDIR: .* different data sets of one name: .*a of mnist/3.0.1, test.* a{12}; '
    )
    with pytest.raises(UserError, match=message):
        finished_runs.check(runs)
    # Earlier versions did not note it.
    finished_runs.check([runs[0], read(workdirs, 'single')])
