"""A short run, alone or as one of several hosts, which saves its parameters.

Usage: train_on_hosts.py WORKDIR NUM_EPOCHS
           [COORDINATOR_ADDRESS NUM_PROCESSES PROCESS_ID SECONDS_LATE NUM_RUNS]
"""

import pathlib
import sys
import time

import jax
import numpy as np

from configs import default
from mnist_flax.hosts import joining
from mnist_flax.train import train_and_evaluate


def main(
    workdir,
    num_epochs,
    coordinator_address=None,
    num_processes=None,
    process_id=None,
    seconds_late='0',
    num_runs='1',
):
    if coordinator_address:
        joining.join_hosts(coordinator_address, int(num_processes), int(process_id))
    jax.devices()  # waits for the devices of the others
    time.sleep(int(seconds_late))
    config = default.get_config()
    config.update({'num_epochs': int(num_epochs), 'batch_size': 64, 'num_devices': 4})
    config.dataset.update({'train_split': 'train[:1000]', 'test_split': 'test[:300]'})
    config.model.update({'features': (4, 8), 'hidden_size': 16, 'conv': 'xla'})
    config.runs = int(num_runs)
    if config.runs > 1:
        config.log_every_steps = 5
        config.evaluators.sure = {'constructor': 'calibration'}
    config.schedule.constructor = 'constant'  # so that more epochs can follow
    result = train_and_evaluate(config, workdir)
    pathlib.Path(workdir).mkdir(exist_ok=True)
    leaves = jax.tree.leaves_with_path([run.variables for run in result.runs])
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    np.savez(pathlib.Path(workdir) / 'params.npz', **arrays)


if __name__ == '__main__':
    main(*sys.argv[1:])
