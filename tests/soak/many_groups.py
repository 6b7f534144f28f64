"""Many groups in one shared workdir: ``python tests/soak/many_groups.py``.

Workers are processes that take real locks and publish real results of an ablation, but
sleep instead of training. Prints how long groups, `status` and gathering take, the files,
and the memory.
"""

import argparse
import multiprocessing
import os
import pathlib
import resource
import tempfile
import time

from mnist_flax.ablation import report
from mnist_flax.ablation.report import Row
from mnist_flax.cluster import agreements, status
from mnist_flax.cluster.shared_workdirs import FINISHED, SharedWorkdir

ENVIRONMENT = {'device': 'none', 'num_devices': 1, 'versions': {}}


def work(folder, number, num_workers, seconds):
    """Does what `working.work` does, but for training."""
    shared = SharedWorkdir(folder)
    start = len(shared.names) * number // num_workers
    for name in [*shared.names[start:], *shared.names[:start]]:
        with shared.hold(name) as held:
            if held is None:
                continue
            time.sleep(seconds)
            seed = int(name.rpartition('-')[2])
            row = Row('recipe', seed, 0.9, 0.1, 0.9, 0.1, 225_034, '', seconds)
            (held / 'rows.csv').write_text(report.to_csv([row]))
            shared.publish(name, ENVIRONMENT, seconds)


def gather(folder):
    """Reads what a report needs, and returns the number of rows."""
    shared = SharedWorkdir(folder)
    rows = []
    for name in status.require_finished(shared, only_finished=False):
        path = shared.folder / FINISHED / name / 'rows.csv'
        rows += report.from_csv(path.read_text(), str(path))
    shared.read_environment(shared.names)
    report.to_markdown(report.compare(rows, ['recipe']))
    return len(rows)


def timed(what, function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    print(f'{what}: {time.perf_counter() - start:.2f} s', flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--groups', type=int, default=10_000)
    parser.add_argument('--workers', type=int, default=200)
    parser.add_argument('--seconds', type=float, default=0.1, help='of each group')
    parser.add_argument('--folder', help='on the drive to measure')
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=flags.folder) as name:
        folder = pathlib.Path(name)
        names = [f'recipe/runs_{i}-{i}' for i in range(flags.groups)]
        agreements.join(name, {}, names)
        processes = [
            multiprocessing.Process(
                target=work, args=(folder, i, flags.workers, flags.seconds)
            )
            for i in range(flags.workers)
        ]
        start = time.perf_counter()
        for process in processes:
            process.start()
        num_finished = 0
        while num_finished < flags.groups and any(
            map(multiprocessing.Process.is_alive, processes)
        ):
            time.sleep(flags.groups * flags.seconds / flags.workers)
            print(timed('status while they work', status.describe, name))
            num_finished = len(SharedWorkdir(folder).list_finished())
        for process in processes:
            process.join()
        elapsed = time.perf_counter() - start
        each = elapsed * min(flags.workers, os.cpu_count()) / flags.groups
        print(f'{flags.groups:,} groups by {flags.workers} workers: {elapsed:.1f} s')
        print(f'at most {1000 * each:.1f} ms of a core for each group')
        print(timed('status at the end', status.describe, name))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f'{timed("gathering", gather, folder):,} rows')
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f'gathering took {(after - before) / 1024:.0f} MiB more')
        files = [len(of) + len(folders) for _, folders, of in os.walk(folder)]
        print(f'{sum(files):,} files and folders, {len(files):,} of them folders')


if __name__ == '__main__':
    main()
