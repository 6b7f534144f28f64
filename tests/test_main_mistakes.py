"""Mistakes in what the command is given: one line each, and nothing is written."""

import pytest

BROKEN_CONFIGS = {
    'syntax.py': 'def get_config(:\n',
    'name.py': 'def get_config():\n    return undefined\n',
    'list.py': 'def get_config():\n    return [1]\n',
    'unknown.py': (
        'from configs import default\n'
        'def get_config():\n'
        '    config = default.get_config()\n'
        '    config.optimizer.momentum = 0.9\n'
        '    return config\n'
    ),
    'missing.py': (
        'from configs import default\n'
        'def get_config():\n'
        '    config = default.get_config()\n'
        '    del config.batch_size\n'
        '    return config\n'
    ),
}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        # Flags and config files, which are read before the project's own code runs.
        (['--config.sed=1'], 'Did you mean "seed"'),
        (['--config.dataset.nam=mnist'], "config.dataset has no field 'nam'; Did you me"),
        (['--config.optimzer.name=sgd'], "config has no field 'optimzer'; Did you mean"),
        (['--config.dataset.drawn=9'], 'has been replaced by config.dataset.extra, with'),
        (['--config.seed=abc'], 'flag --config.seed=abc: invalid literal for int()'),
        (['--config=no/such.py', '--config.seed=1'], "there is no file 'no/such.py'"),
        (['--config={tmp}/syntax.py'], 'syntax.py, line 1: '),
        (['--config={tmp}/name.py'], "name.py, line 2: NameError: name 'undefined'"),
        (['--config={tmp}/list.py'], 'get_config() returned list, not a ConfigDict'),
        pytest.param(
            ['--config={tmp}/unknown.py'], "config.optimizer has no field 'momentum'",
            marks=pytest.mark.slow,
        ),
        (['--config.optimizer.momentun=0.9'], "config.optimizer has no field 'momentun'; "),
        (
            ['--config.label_smoothing=0.1'],
            'has been replaced by config.loss.label_smoothi',
        ),
        pytest.param(
            ['--config.sweep.ema_decay=(0.0,0.9)'],
            'add --config.dataset.validation=holdout', marks=pytest.mark.slow,
        ),
        pytest.param(
            ['--config={tmp}/missing.py'], 'config.batch_size is missing; allowed: int',
            marks=pytest.mark.slow,
        ),
        (['--wrkdir=x'], "Unknown command line flag 'wrkdir'"),
        (['extra'], "unexpected argument 'extra'"),
        (['--num_processes=2', '--process_id=0'], '--coordinator_address is missing; give'),
        (
            ['--coordinator_address=a:1', '--num_processes=2', '--process_id=2'],
            '--process_id: found 2; allowed: 0 to 1',
        ),
        # One of each part of the project's own; the others are in the tests of the parts.
        pytest.param(
            ['--distributed'], '--coordinator_address: cannot reach a cluster',
            marks=pytest.mark.slow,
        ),
        (['--workdir=README.md'], "--workdir: cannot write to 'README.md'"),
        (['--config.num_devices=1000'], 'config.num_devices: found 1000; allowed: 0 to '),
        pytest.param(
            ['--config.model.conv=fast'], "allowed: 'auto', 'xla', 'winograd'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ['--config.dataset.name=mnits'], "name: 'mnits' is not in ",
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_bad_input_ends_in_one_line(command, tmp_path, arguments, message):
    for name, content in BROKEN_CONFIGS.items():
        (tmp_path / name).write_text(content)
    workdir = tmp_path / 'outputs'
    workdir.mkdir()
    (workdir / 'metrics.txt').write_text('an earlier run')
    process = command(
        '-m',
        'mnist_flax.main',
        f'--workdir={workdir}',
        *(argument.format(tmp=tmp_path) for argument in arguments),
    )
    assert process.returncode in (1, 2)
    assert process.stderr.startswith('error: ')
    assert message in process.stderr
    assert process.stderr.count('\n') == 1
    assert process.stdout == ''
    assert [path.name for path in workdir.iterdir()] == ['metrics.txt']
    assert (workdir / 'metrics.txt').read_text() == 'an earlier run'
