"""Workers as they are launched: by a real Slurm, and as processes of this machine."""

import contextlib
import csv
import os
import re
import subprocess
import time
from types import SimpleNamespace

import pytest
import slurm

from mnist_flax.cluster import launching, local_shares
from mnist_flax.common.errors import UserError

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


def resources(**given):
    return launching.Resources(None, None, 0, None, None, {})._replace(**given)


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ((), '--num_workers is missing; say how many to start'),
        (('--num_workers=2', '--hours=nan'), '--hours: found nan'),
        (('--num_workers=999',), '--num_workers: found 999 of 1 cores each; this mach'),
        (('--num_workers=2',), 'config.runs_at_once: found 0; allowed with workers: 1 or'),
        (('--status',), '--workdir: no workers share '),
        (('--status', '--workdir=~nobody-here'), "--workdir: found '~nobody-here' ("),
        (('--num_workers=2', '--workdir=s3://b/x'), '--workdir: '),
    ],
)
def test_what_cannot_be_launched_is_one_line(command, tmp_path, flags, message):
    flags = (f'--workdir={tmp_path}/shared', *flags)
    process = command('scripts/launch.py', '--cluster=local', *flags)
    assert process.returncode in (1, 2)
    assert process.stderr.startswith(f'error: {message}')
    assert process.stderr.count('\n') == 1
    assert not (tmp_path / 'shared/shared.json').exists()


@pytest.mark.parametrize(
    ('num_workers', 'cluster', 'given', 'message'),
    [
        (2, 'slurm', {}, '--cluster: found slurm, but there is no sbatch here'),
        (
            2,
            'local',
            {'partition': 'main'},
            '--partition: it is for Slurm, but workers are',
        ),
        (
            2,
            'auto',
            {'sbatch': {'qos': 'low'}},
            '--sbatch: it is for Slurm, but workers ar',
        ),
        (999, 'auto', {}, '--num_workers: found 999 of 1 cores each; this machine has'),
        (1, 'auto', {'cpus_per_task': 999}, '--num_workers: found 1 of 999 cores each; '),
        (
            2,
            'auto',
            {'gpus_per_task': 9},
            '--num_workers: found 2 with --gpus_per_task=9; ',
        ),
    ],
)
def test_a_machine_that_is_too_small_is_one_line(
    monkeypatch, num_workers, cluster, given, message
):
    monkeypatch.setattr(launching.shutil, 'which', lambda name: None)
    with pytest.raises(UserError) as caught:
        launching.choose_cluster(num_workers, resources(**given), cluster)
    assert str(caught.value).startswith(message)


def test_without_submitit_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(launching.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[slurm\]'"):
        launching.choose_cluster(1, resources(), 'auto')


def test_slurm_gets_what_the_flags_say():
    given = resources(
        partition='gpu', gpus_per_task=2, mem_gb=1.5, hours=0.5, sbatch={'qos': 'low'}
    )
    assert launching._slurm_parameters(given) == {
        'partition': 'gpu',
        'gpus_per_task': 2,
        'mem': '1536M',
        'time': 30,
        'job_name': 'mnist_flax',
        'signal_delay_s': 90,
        'additional_parameters': {'requeue': True, 'qos': 'low'},
    }
    assert launching._slurm_parameters(resources(hours=0.05))['signal_delay_s'] == 45


def test_without_a_time_limit_slurm_gets_a_day_and_not_its_few_minutes():
    assert launching._slurm_parameters(resources())['time'] == 24 * 60
    assert launching._slurm_parameters(resources(hours=0.021))['time'] == 2


@pytest.mark.parametrize(
    ('visible', 'expected'), [(None, [[0, 1], [2, 3]]), ('5,7,2,3', [[5, 7], [2, 3]])]
)
def test_a_machine_s_gpus_and_cores_are_divided(monkeypatch, visible, expected):
    listed = subprocess.CompletedProcess([], 0, b'GPU 0: x\nGPU 1: x\n' * 2)
    monkeypatch.setattr(local_shares.subprocess, 'run', lambda *of, **options: listed)
    monkeypatch.setattr(local_shares.os, 'sched_getaffinity', lambda pid: {*range(10, 18)})
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.delenv('JAX_PLATFORMS', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    found = local_shares.divide(2, None, 2)
    assert [gpus for _, gpus in found] == expected
    assert [cores for cores, _ in found] == [[10, 11, 12, 13], [14, 15, 16, 17]]
    with pytest.raises(UserError, match='--gpus_per_task: found 0, though this machine'):
        local_shares.divide(2, None, 0)


def refuse(monkeypatch, *refused):
    """Slurm refuses the submissions of these numbers."""
    from submitit.core.utils import FailedJobError

    class Executor:
        def __init__(self, *arguments, **options):
            pass

        update_parameters = __init__
        jobs = iter(range(10))

        def submit_array(self, tasks):
            return [self.submit(tasks)]

        def submit(self, task):
            number = next(Executor.jobs)
            if number in refused:
                raise FailedJobError('sbatch\nInvalid account')
            return SimpleNamespace(job_id=f'{77 + number}_0')

    monkeypatch.setattr('submitit.SlurmExecutor', Executor)


@pytest.mark.parametrize(
    ('refused', 'message'),
    [(0, 'nothing was started'), (1, 'job 77 of 2 tasks was started; `scancel 77` ends')],
)
def test_when_slurm_refuses_a_job_it_says_what_was_started(
    tmp_path, monkeypatch, refused, message
):
    refuse(monkeypatch, refused)
    with pytest.raises(UserError, match=rf'refuses a job \(Invalid account\); {message}'):
        launching.launch(['true'], tmp_path, 2, resources(), 'slurm')


@pytest.mark.slow
def test_workers_of_this_machine_leave_the_report_of_one_process(tmp_path, command):
    folder = tmp_path / 'shared folder'
    flags = (
        '--config.runs=3', '--config.runs_at_once=1', '--config.num_devices=1',
        '--config.num_epochs=25', '--config.model.conv=xla',
        '--config.dataset.train_split=train[:2000]', '--config.model.features=(4,8)',
        '--config.dataset.test_split=test[:300]',
    )  # fmt: skip
    launch = ('scripts/launch.py', *flags, f'--workdir={folder}', '--cluster=local')
    status = ('scripts/launch.py', f'--workdir={folder}', '--status')
    started = command(*launch, '--num_workers=2')
    assert (started.returncode, started.stderr) == (0, '')
    stop = re.match(
        r'started: 2 processes of this machine, which `(kill \d+ \d+)` ends\n',
        started.stdout,
    )[1]
    begun = launching.pathlib.Path(folder, 'work')
    end = time.monotonic() + 200
    while len([*begun.glob('*/metrics.jsonl')]) < 2:  # both train
        assert time.monotonic() < end
        time.sleep(0.05)
    again = command(*launch, '--num_workers=1')
    assert again.stderr.startswith('error: --workdir: workers are running (runs_')
    subprocess.run(stop.split(), check=True)
    while command(*status).stdout.splitlines()[-1] != 'no worker is running':
        assert time.monotonic() < end
    assert [*begun.glob('*/[1-9]*')]  # what they had trained
    assert command(*launch, '--num_workers=2').returncode == 0
    while not (folder / 'reported.txt').exists():
        assert time.monotonic() < end
        time.sleep(0.2)
    assert command(*status).stdout.splitlines() == [
        '3 groups: 3 done, 0 running, 0 failed, 0 pending, 0 of them begun',
        'all groups are done',
    ]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # as many as a worker has: sums depend on that
    try:
        alone = command('-m', 'mnist_flax.main', *flags, f'--workdir={tmp_path}/alone')
    finally:
        os.sched_setaffinity(0, cores)
    assert alone.returncode == 0
    for name in ('history.csv', 'accuracy_plot.png'):
        assert (folder / name).read_bytes() == (tmp_path / 'alone' / name).read_bytes()


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
            **cluster.environment,
        )  # fmt: skip
        assert (started.returncode, started.stderr) == (0, '')
        array = re.match(r'started: job (\d+) of 3 tasks', started.stdout)[1]
        cluster.wait(lambda: has_saved_task(0))
        job, _, node = cluster.tasks(array)[0]
        cluster.kill_node(int(node[1:]), job)
        cluster.wait(lambda: cluster.tasks(array)[0][1] == 'PD')  # it is requeued
        cluster.start_node(int(node[1:]))
        cluster.wait(lambda: has_saved_task(1))
        cluster.run('scontrol', 'requeue', f'{array}_1')
        status = command('scripts/launch.py', f'--workdir={folder}', '--status')
        assert re.match(r'12 groups: \d+ done, [12] running, 0 failed, ', status.stdout)
        cluster.wait(lambda: has_saved_task(2))
        # What Slurm does 90 seconds before the time limit.
        cluster.run('scancel', '--signal=USR2', f'{array}_2')
        log = folder / f'jobs/{array}_2_0_log.out'
        cluster.wait(lambda: 'Requeued job' in log.read_text())
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
