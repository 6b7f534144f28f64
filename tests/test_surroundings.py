"""The commands among users' switches, folders and homes as they are found."""

import json

import pytest

from mnist_flax.common import caches

SHORT = (
    '--config.num_epochs=1', '--config.dataset.train_split=train[:600]',
    '--config.dataset.test_split=test[:200]', '--config.model.conv=xla',
    '--config.model.features=(4,8)', '--config.model.hidden_size=16',
)  # fmt: skip


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        (
            ('-m', 'mnist_flax.main', '--config.dataset.data_dir=gs://b'),
            '--config.dataset.data_dir',
        ),
        (('-m', 'mnist_flax.main', '--workdir=s3:/b/run'), '--workdir'),
        (('scripts/export.py', '--export_dir=az://b'), '--export_dir'),
        (('scripts/predict.py', 'https://b/5.png'), 'the argument'),
        (('scripts/predict.py', '--save_figure=s3://b/5.png', '5.png'), '--save_figure'),
        (('scripts/prepare.py', '--name=x', 's3://b'), 'the argument'),
    ],
)
def test_an_address_is_refused_before_anything_is_loaded(
    command, tmp_path, arguments, name
):
    process = command(*arguments, JAX_PLATFORMS='none')  # with which JAX could not start
    assert process.returncode in (1, 2)
    assert process.stderr.startswith(f'error: {name}')
    assert '; allowed: a folder or file of this machine; mount the bucket' in process.stderr
    assert process.stderr.count('\n') == 1


@pytest.mark.parametrize(
    ('arguments', 'name', 'reason'),
    [
        (('-m', 'mnist_flax.main', '--workdir=oci://b/run'), '--workdir', 'Install ocifs'),
        (('scripts/ablate.py', '--workdir=no://b/run'), '--workdir', 'not known: no'),
        (('scripts/evaluate.py', '--report_dir=no://b'), '--report_dir', 'not known'),
        (('scripts/predict.py', '--workdir=no://b/run', '5.png'), '--workdir', 'not known'),
        (('scripts/export.py', '--workdir=no://b/run'), '--workdir', 'not known'),
        (('scripts/compare.py', 'no://b/run'), 'the argument WORKDIR', 'not known'),
    ],
)
def test_a_bucket_that_this_python_cannot_reach_is_refused_before_anything_is_loaded(
    command, arguments, name, reason
):
    process = command(*arguments, JAX_PLATFORMS='none')
    assert process.returncode == 2
    assert process.stderr.startswith(f'error: {name}: cannot reach ')
    assert reason in process.stderr
    assert "pip install -e '.[buckets]' for s3:// and gs://" in process.stderr
    assert process.stderr.count('\n') == 1


def test_other_fields_may_be_addresses(command):
    code = (
        'from absl import flags\nfrom mnist_flax.common import cli\n'
        'cli.define_config("configs/default.py")\n'
        'cli.run(lambda: print(flags.FLAGS.config.writers.own.url))'
    )
    process = command('-c', code, '--config.writers.own.url=http://localhost:5000')
    assert (process.stdout, process.stderr) == ('http://localhost:5000\n', '')


def test_of_a_field_that_is_given_twice_the_last_value_counts(command):
    code = (
        'from absl import flags\nfrom mnist_flax.common import cli\n'
        'cli.define_config("configs/default.py")\n'
        'cli.run(lambda: print(flags.FLAGS.config.model.features, flags.FLAGS.config.seed))'
    )
    process = command(
        '-c', code, '--config.model.features=(4,4)', '-config.model.features=(8,8)',
        '--config.seed', '1', '--config.model.features', '(8,)', '--config.seed=2',
    )  # fmt: skip
    assert (process.stdout, process.stderr) == ('(8,) 2\n', '')


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        ('--config.checkpoint.resume false x', "['x'] outputs 0 False"),
        ('--config.seed=3 --config=configs/fast.py x', "['x'] outputs 3 True"),
        ('--config.seed -1 --config.seed -2 x', "['x'] outputs -2 True"),
        ('--workdir=--odd x', "['x'] --odd 0 True"),
        ('x -- --config.seed=4', "['x', '--config.seed=4'] outputs 0 True"),
        (
            '--workdir --config.seed=3 x',
            "error: --workdir: its value is missing; '--config.seed=3' follows",
        ),
        (
            '--config.checkpoint.resume --noconfig.checkpoint.resume x',
            "['x'] outputs 0 False",
        ),
        (
            'x --noconfig.checkpoint.resume --config.checkpoint.resume',
            "['x'] outputs 0 True",
        ),
        (
            '--noconfig.checkpoint.resume=x x',
            'error: --config: --noconfig.checkpoint.resume=x does not take an argument; '
            'see the fields in configs/default.py',
        ),
        ('x --workdir --b', "error: --workdir: its value is missing; '--b' follows"),
        ('--b --workdir y x', "['x'] y 0 True"),
    ],
)
def test_each_value_goes_to_its_flag(command, words, expected):
    code = (
        'from absl import flags\nfrom mnist_flax.common import cli\n'
        'cli.define_config("configs/default.py")\n'
        'flags.DEFINE_string("workdir", "outputs", "")\nflags.DEFINE_bool("b", 0, "")\n'
        'def main(of):\n'
        '  values = flags.FLAGS\n  config = values.config\n'
        '  print(of, values.workdir, config.seed, config.checkpoint.resume)\n'
        'cli.run(main, arguments="X")'
    )
    process = command('-c', code, *words.split())
    assert (process.stdout + process.stderr).strip() == expected


def test_without_a_home_there_is_no_cache(monkeypatch, tmp_path):
    def fail(name):
        raise RuntimeError('could not determine the home directory')

    (tmp_path / 'file').touch()
    for find in (fail, lambda name: tmp_path / 'file' / name):
        monkeypatch.setattr(caches.platformdirs, 'user_cache_path', find)
        assert caches.find_folder() is None


@pytest.mark.slow
def test_a_user_without_a_home_trains_and_predicts(command, tmp_path):
    first = (
        'import platformdirs, runpy, sys\n'
        'def fail(*arguments):\n    raise RuntimeError("no home")\n'
        'platformdirs.user_cache_path = fail\n'
        'program = sys.argv.pop(1)\n'
    )
    main = f'{first}runpy.run_module(program, run_name="__main__")'
    process = command(
        '-c', main, 'mnist_flax.main', *SHORT, f'--workdir={tmp_path}', HOME=''
    )
    assert (process.returncode, process.stderr) == (0, '')
    script = f'{first}sys.argv[0] = program\nrunpy.run_path(program, run_name="__main__")'
    process = command('-c', script, 'scripts/predict.py', tmp_path / 'absent.png', HOME='')
    assert process.stderr == (
        f'error: {tmp_path}/absent.png: it cannot be read (No such file or directory)\n'
    )


@pytest.mark.slow
def test_the_numbers_are_the_same_whatever_the_switches_of_jax_are(command, tmp_path):
    found = {}
    for switch in (
        'NONE=1', 'JAX_ENABLE_X64=1', 'JAX_NUMPY_DTYPE_PROMOTION=strict',
        'JAX_NUMPY_RANK_PROMOTION=raise', 'JAX_TRANSFER_GUARD=disallow', 'JAX_DEBUG_NANS=1',
    ):  # fmt: skip
        name, _, value = switch.partition('=')
        workdir = tmp_path / name
        process = command(
            '-m', 'mnist_flax.main', *SHORT, f'--workdir={workdir}', **{name: value}
        )
        assert process.returncode == 0, process.stderr
        found[switch] = (workdir / 'history.csv').read_text()
        picture = command(
            'scripts/predict.py', f'--workdir={workdir}', '--json', 'docs/demo.png',
            **{name: value},
        )  # fmt: skip
        found[switch] += picture.stdout + picture.stderr
        evaluated = command(
            'scripts/evaluate.py', f'--workdir={workdir}', '--split=test[:100]',
            f'--report_dir={workdir}/evaluation', timeout=600, **{name: value},
        )  # fmt: skip
        assert evaluated.returncode == 0, evaluated.stderr
        numbers = json.loads((workdir / 'evaluation' / 'evaluation.json').read_text())
        found[switch] += str({**numbers, 'seconds': 0})
    assert len({*found.values()}) == 1, found


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_a_platform_that_is_not_here_is_one_line(command, platform):
    process = command('scripts/predict.py', 'docs/demo.png', JAX_PLATFORMS=platform)
    assert process.stderr == (
        f"error: JAX_PLATFORMS: found '{platform}', but there is no such device, or JAX "
        'lacks what it takes; unset it, or see docs/machines.md\n'
    )
    assert process.returncode == 1


@pytest.mark.slow
def test_train_and_test_images_that_overlap_are_told_before_and_after(command, tmp_path):
    process = command(
        '-m', 'mnist_flax.main', *SHORT, '--config.dataset.test_split=train[:200]',
        f'--workdir={tmp_path}',
    )  # fmt: skip
    overlap = (
        '200 of the 200 test images are among the train images too, with the same pixels'
    )
    assert process.stderr == f'warning: config.dataset: {overlap}\n'
    assert json.loads((tmp_path / 'metrics.json').read_text())['overlaps'] == [overlap]
    assert overlap in (tmp_path / 'metrics.txt').read_text()
