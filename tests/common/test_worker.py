import pytest

from mnist_flax.common import worker
from mnist_flax.common.errors import UserError

SLURM = {'SLURM_ARRAY_TASK_ID': '8', 'SLURM_ARRAY_TASK_MAX': '15'}
# A single task of that array, submitted again.
AGAIN = {'SLURM_ARRAY_TASK_ID': '8', 'SLURM_ARRAY_TASK_MAX': '8'}
SRUN = {'SLURM_PROCID': '3', 'SLURM_NTASKS': '4'}
KUBERNETES = {'JOB_COMPLETION_INDEX': '5'}


@pytest.mark.parametrize(
    ('flags', 'environment', 'expected'),
    [
        (('0', 1), {}, (0, 1)),
        (('15', 16), SLURM, (15, 16)),  # flags count more
        (('auto', None), SLURM, (8, 16)),
        (('auto', None), AGAIN, (8, 9)),
        (('auto', 16), AGAIN, (8, 16)),
        (('auto', 8), SLURM, (0, 8)),  # an array that starts at 1 ends at 8
        (('auto', None), SRUN, (3, 4)),
        (('auto', 6), KUBERNETES, (5, 6)),
    ],
)
def test_a_number_is_that_of_the_flags_or_of_the_scheduler(
    monkeypatch, flags, environment, expected
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert worker.read(*flags) == expected


@pytest.mark.parametrize(
    ('flags', 'environment', 'message'),
    [
        (('16', 16), {}, 'found 16; allowed: 0 to 15, as there are 16'),
        (('-1', 2), {}, "found '-1'; allowed: a number from 0, or 'auto'"),
        (('a', 2), {}, "found 'a'; allowed: a number from 0, or 'auto'"),
        (('1', None), {}, '--num_workers is missing'),
        (('auto', None), {}, 'no scheduler says which one this is'),
        (('auto', None), KUBERNETES, 'give the completions of the indexed job'),
        (('auto', 2), {'SLURM_ARRAY_TASK_ID': 'x'}, "TASK_ID is 'x', and not a"),
    ],
)
def test_what_is_no_worker_is_one_line(monkeypatch, flags, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        worker.read(*flags)
