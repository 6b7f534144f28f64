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
        (['--config.sed=1'], 'Did you mean "seed"'),
        (['--config.dataset.nam=mnist'], 'Did you mean "name"'),
        (['--config.seed=abc'], 'flag --config.seed=abc: invalid literal for int()'),
        (['--config.model.features=(3,"a")'], 'allowed: tuple[int, ...]'),
        (['--config.model.conv=fast'], "allowed: 'auto', 'xla', 'winograd'"),
        (['--config.dataset.validation=none'], "allowed: 'test', 'holdout'"),
        (['--config=no/such.py'], "found 'no/such.py', which is no file"),
        (['--config=no/such.py', '--config.seed=1'], "found 'no/such.py'"),
        (['--config={tmp}/syntax.py'], 'syntax.py, line 1: '),
        (['--config={tmp}/name.py'], "name.py, line 2: NameError: name 'undefined'"),
        (['--config={tmp}/list.py'], 'get_config() returned list, no ConfigDict'),
        (['--config={tmp}/unknown.py'], "config.optimizer has no field 'momentum'"),
        (['--config={tmp}/missing.py'], 'config.batch_size is missing; allowed: int'),
        (['--wrkdir=x'], "Unknown command line flag 'wrkdir'"),
        (['extra'], "unexpected argument 'extra'"),
        (['--config.num_epochs=0'], 'config.num_epochs: found 0; allowed: 1 or more'),
        (['--config.batch_size=0'], 'config.batch_size: found 0'),
        (
            ['--config.batch_size=60001'],
            'config.batch_size: found 60001; allowed: 1 to 60000',
        ),
        (['--config.seed=-1'], 'config.seed: found -1; allowed: 0 to'),
        (
            ['--config.optimizer.learning_rate=0'],
            'learning_rate: found 0.0; allowed: a pos',
        ),
        (['--config.optimizer.learning_rate=nan'], 'learning_rate: found nan'),
        (['--config.optimizer.name=adm'], "optimizer.name: found 'adm'; allowed: "),
        (['--config.dataset.name=mnits'], "found 'mnits'"),
        (
            ['--config=configs/fashion_mnist.py', '--config.dataset.data_dir={tmp}'],
            'download_and_prepare()',
        ),
        (['--config.dataset.train_split=tran'], "train_split: found 'tran'"),
        (
            ['--config.model.num_classes=9'],
            'config.model: found logits of shape (2, 9) for 2 images; allowed: num_classes '
            '= 10 for each',
        ),
        (['--config.model.constructor=no.model'], "constructor: found 'no.model' (Modu"),
        (['--config.sweep.dropout_rate=(0.5,2)'], 'dropout_rate: found 2'),
        (['--workdir=README.md'], "--workdir: cannot write to 'README.md'"),
        (['--config.num_devices=-1'], 'config.num_devices: found -1; allowed: 0 to '),
        (['--config.num_devices=1000'], 'config.num_devices: found 1000; allowed: 0 to '),
        (['--config.model.dtype=float16'], "allowed: 'float32', 'bfloat16'"),
        (['--config.matmul_precision=low'], "allowed: 'float32', 'tensorfloat32'"),
        (['--num_processes=2', '--process_id=0'], '--coordinator_address: missing'),
        (
            ['--coordinator_address=a:1', '--num_processes=2', '--process_id=2'],
            '--process_id: found 2; allowed: 0 to 1',
        ),
        (['--distributed'], '--coordinator_address: found no cluster'),
    ],
)
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
