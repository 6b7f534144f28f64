"""Workers as they are launched: by a real Slurm, and as processes of this machine."""

import contextlib
import csv
import re

import pytest
import slurm

ABLATION = (
    '--config=configs/ablation.py', '--config.recipe.runs_at_once=1', '--seeds=2',
    '--variants=no_dropout,no_average,no_shear,no_scale,no_shift',
    '--config.recipe.num_devices=1', '--config.recipe.num_epochs=40',
    '--config.recipe.dataset.train_split=train[:3000]',
    '--config.recipe.dataset.holdout_size=1000', '--config.recipe.model.features=(4,8)',
    '--config.recipe.dataset.test_split=test[:300]',
)  # fmt: skip


def read_runs(folder):
    """The table of runs, without the seconds."""
    with (folder / 'results.csv').open() as file:
        return [list(row.values())[:-1] for row in csv.DictReader(file)]


def has_saved(folder, job):
    """Tells whether a job has a checkpoint of the group that it trains."""
    for path in (folder / 'work').glob('*/runs_*'):
        with contextlib.suppress(FileNotFoundError):
            if (path / 'owner.txt').read_text().endswith(f', job {job}'):
                return any(of.name.isdecimal() for of in path.iterdir())
    return False


@pytest.mark.slow
@pytest.mark.skipif(bool(slurm.why_not()), reason=f'NO SLURM HERE: {slurm.why_not()}')
def test_on_a_real_slurm_nothing_is_lost_and_the_table_is_that_of_one_process(
    tmp_path, command
):
    """A node dies, tasks are requeued, cancelled, and over their time limit."""
    folder = tmp_path / 'shared'

    def has_saved_task(number):
        tasks = cluster.tasks(array)
        return number in tasks and has_saved(folder, tasks[number][0])

    with slurm.Slurm(tmp_path / 'slurm', 3) as cluster:
        started = command(
            'scripts/launch.py', *ABLATION, f'--workdir={folder}', '--num_workers=3',
            '--hours=0.05', **cluster.environment,
        )  # fmt: skip
        assert (started.returncode, started.stderr) == (0, '')
        array = re.match(r'started: job (\d+) of 3 tasks', started.stdout)[1]
        cluster.wait(lambda: has_saved_task(0))
        job, _, node = cluster.tasks(array)[0]
        cluster.kill_node(int(node[1:]), job)
        cluster.wait(lambda: has_saved_task(1))
        cluster.run('scontrol', 'requeue', cluster.tasks(array)[1][0])
        cluster.start_node(int(node[1:]))
        status = command('scripts/launch.py', f'--workdir={folder}', '--status')
        assert re.match(r'12 groups: \d+ done, 1 running, 0 failed, \d', status.stdout)
        cluster.wait(
            lambda: 'SIGUSR2' in (folder / f'jobs/{array}_2_0_log.out').read_text()
        )
        cluster.wait(lambda: has_saved_task(0) or has_saved_task(1))
        cluster.run('scancel', f'{array}_{0 if has_saved_task(0) else 1}')
        cluster.wait(lambda: cluster.run('squeue', '-h') == '', seconds=900)
    status = command('scripts/launch.py', f'--workdir={folder}', '--status')
    logs = '\n'.join(path.read_text() for path in (folder / 'jobs').glob('*log*'))
    assert 'all groups are done' in status.stdout, logs
    assert 'saved in ' in logs
    whole = command('scripts/ablate.py', *ABLATION, f'--workdir={tmp_path}/whole')
    assert whole.returncode == 0
    assert read_runs(folder) == read_runs(tmp_path / 'whole')
    figures = [of / 'ablation.png' for of in (folder, tmp_path / 'whole')]
    assert figures[0].read_bytes() == figures[1].read_bytes()
