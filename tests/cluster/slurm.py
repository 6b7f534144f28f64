"""A real Slurm on this machine alone: some nodes of one core each, on loopback."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time

import psutil

_PORT = 17817

_CONFIG = """ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=10
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=5,sched_interval=5,requeue_delay=1
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
{nodes}
PartitionName=main Nodes=n[1-{num_nodes}] Default=YES MaxTime=INFINITE OverSubscribe=NO
"""


def why_not():
    """Says why Slurm cannot be started here; nothing if it can."""
    if not hasattr(os, 'geteuid') or os.geteuid() != 0:
        return 'only a superuser can start it'
    if not all(map(shutil.which, ('slurmctld', 'slurmd', 'munged', 'sbatch'))):
        return 'apt-get install slurm-wlm munge'
    return ''


class Slurm:
    """A cluster, as long as the context lasts."""

    def __init__(self, folder: pathlib.Path, num_nodes: int):
        self._folder = folder
        self._num_nodes = num_nodes
        self.environment = {'SLURM_CONF': str(folder / 'slurm.conf')}

    def __enter__(self):
        host = socket.gethostname().partition('.')[0]
        lines = []
        for i in range(1, self._num_nodes + 1):
            (self._folder / f'spool-n{i}').mkdir(parents=True)
            lines.append(
                f'NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 '
                f'Port={_PORT + i} CPUs=1 RealMemory=4000 State=UNKNOWN'
            )
        (self._folder / 'state').mkdir()
        config = _CONFIG.format(
            host=host,
            port=_PORT,
            folder=self._folder,
            nodes='\n'.join(lines),
            num_nodes=self._num_nodes,
        )
        (self._folder / 'slurm.conf').write_text(config)
        if not _munge_works():
            pathlib.Path('/run/munge').mkdir(exist_ok=True)
            shutil.chown('/run/munge', 'munge')
            subprocess.run(['su', '-s', '/bin/sh', 'munge', '-c', 'munged'], check=True)
        self.run('slurmctld')
        for i in range(1, self._num_nodes + 1):
            self.start_node(i)
        self.wait(lambda: self.run('sinfo', '-hNo', '%t').count('idle') == self._num_nodes)
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run('scancel', '--state=RUNNING', '--user=root')
            self.run('scancel', '--user=root')
            time.sleep(2)
        for path in self._folder.glob('*.pid'):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(path.read_text()), 15)

    def run(self, *command):
        """Runs a command of Slurm and returns what it prints."""
        return subprocess.run(
            command, env={**os.environ, **self.environment}, check=True, text=True,
            capture_output=True,
        ).stdout  # fmt: skip

    def start_node(self, number):
        self.run('slurmd', '-N', f'n{number}')

    def kill_node(self, number, job):
        """Kills a node's daemon, and all that a job has running."""
        os.kill(int((self._folder / f'n{number}.pid').read_text()), 9)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                steps = process.name() == 'slurmstepd' and any(
                    f'[{job}.' in word for word in words
                )
                if steps or process.environ().get('SLURM_JOB_ID') == job:
                    process.kill()

    def wait(self, condition, seconds=300):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.run('squeue', '-a')
            time.sleep(0.5)

    def tasks(self, array):
        """Lists the tasks of an array: by number the job, the state and the node."""
        lines = self.run('squeue', '-harj', array, '-o', '%K %A %t %N').splitlines()
        found = {}
        for line in lines:
            number, job, state, *node = line.split()
            found[int(number)] = job, state, (node or [''])[0]
        return found


def _munge_works():
    made = subprocess.run(['munge', '-n'], capture_output=True, check=False)
    read = subprocess.run(['unmunge'], input=made.stdout, capture_output=True, check=False)
    return made.returncode == read.returncode == 0
