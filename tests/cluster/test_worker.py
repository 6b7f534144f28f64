import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_flax.cluster import worker
from mnist_flax.cluster.worker import Worker
from mnist_flax.common.errors import UserError

SLURM = {
    'SLURM_ARRAY_TASK_ID': '8', 'SLURM_ARRAY_TASK_MIN': '4', 'SLURM_ARRAY_TASK_STEP': '2',
    'SLURM_ARRAY_TASK_COUNT': '3',
}  # fmt: skip
KUBERNETES = {'JOB_COMPLETION_INDEX': '5'}


@given(st.integers(1, 50), st.integers(0, 200))
def test_each_group_has_exactly_one_worker(num_workers, position):
    workers = [Worker(number, num_workers) for number in range(num_workers)]
    assert sum(of.has(position) for of in workers) == 1


@pytest.mark.parametrize(
    ('flags', 'environment', 'expected'),
    [
        (('0', 1), {}, (0, 1)),
        (('15', 16), SLURM, (15, 16)),  # flags count more
        (('auto', None), SLURM, (2, 3)),
        (('auto', 16), SLURM, (2, 16)),
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
        (('auto', 5), KUBERNETES, 'found 5; allowed: 0 to 4'),
        (('auto', 2), {**SLURM, 'SLURM_ARRAY_TASK_ID': 'x'}, "TASK_ID is 'x', and not a"),
    ],
)
def test_what_is_no_worker_is_one_line(monkeypatch, flags, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        worker.read(*flags)
