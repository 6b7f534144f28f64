"""Strategies of hypothesis for command lines, and the small files that they name."""

import io

import numpy as np
from hypothesis import strategies as st
from PIL import Image

# So that what is good trains in seconds.
_SMALL = (
    '--config.num_epochs=1', '--config.dataset.train_split=train[:300]',
    '--config.dataset.test_split=test[:50]', '--config.model.conv=xla',
    '--config.model.features=(2,)', '--config.model.hidden_size=4',
)  # fmt: skip

_VALUES = st.sampled_from([
    '', ' ', '0', '-1', '1', '2', '3', '1e-3', '0.5', '1.5', '-0.0', '1e309', 'nan',
    'inf', '1_0', '0x10', '９', '10000000000000', '99999999999999999999999', 'None',
    'null', 'true', 'False', 'TRUE', '(1,)', '()', '(', '(1,2', '(1,"a")', '(0,)',
    '(-1,)', '[]', '[1,2]', '{}', '{"a": 1}', "'", '"', "'x'", '\\', 'x', 'adam', 'sgd',
    'cosine', 'holdout', 'test', 'train', 'train[:10]', 'test[5:3]', 'train[:101%]',
    'train[::2]', 'train+test', 'bfloat16', 'os.system', 'mnist_flax.models.create_model',
    'flax.linen.Dense', 'optax.adam', 'a.b.c', '.', '..', '/', '/dev/null',
    '/proc/self/mem', '~nobody7/x', '{folder}', '{folder}/absent', 's3://b/x',
    'memory://b/x',
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
    'ä', '\u202e', '🙂', '\n', '--', '=', '%s', '{0}',
])  # fmt: skip

_FIELDS = (
    'seed', 'runs', 'runs_at_once', 'num_epochs', 'batch_size', 'microbatch_size',
    'num_devices', 'matmul_precision', 'ema_decay', 'log_every_steps', 'dataset',
    'dataset.name', 'dataset.data_dir', 'dataset.train_split', 'dataset.test_split',
    'dataset.validation', 'dataset.holdout_size', 'dataset.extra',
    'dataset.extra.constructor', 'model', 'model.constructor', 'model.features',
    'model.hidden_size', 'model.num_classes', 'model.conv', 'model.dtype',
    'model.dropout_rate', 'model.batch_norm', 'loss', 'loss.constructor',
    'loss.label_smoothing', 'optimizer', 'optimizer.constructor',
    'optimizer.learning_rate', 'optimizer.weight_decay', 'optimizer.clip_norm',
    'optimizer.b1', 'schedule', 'schedule.constructor', 'schedule.warmup',
    'augment.constructor', 'augment.strength', 'augment.rotation', 'augment.erase',
    'augment.elastic', 'metrics', 'metrics.a.constructor', 'evaluators.a.constructor',
    'evaluators.a.every_steps', 'writers.a.constructor', 'sweep',
    'sweep.optimizer.learning_rate', 'sweep.seed', 'sweep.model.features',
    'checkpoint.every', 'checkpoint.keep', 'checkpoint.resume',
    'checkpoint.allow_changes', 'optimzer.learning_rate', 'sed', 'a', 'a.b', '', '.', 'ä',
)  # fmt: skip

# Values that many are right of.
_PLAUSIBLE = {
    'seed': ('0', '7', '4294967295'), 'runs': ('1', '2', '3'), 'runs_at_once': ('1', '2'),
    'num_epochs': ('1', '2'), 'batch_size': ('1', '7', '64', '300', '301'),
    'microbatch_size': ('1', '32', '128'), 'num_devices': ('1', '2', '3'),
    'matmul_precision': ('bfloat16', 'tensorfloat32', 'highest'),
    'ema_decay': ('0.9', '0.999', '1'), 'log_every_steps': ('1', '2', '100'),
    'dataset.name': ('mnist', 'mnist:3.*.*', 'emnist', 'mnist/x'),
    'dataset.train_split': ('train[:300]', 'train[300:500]', 'test[:99]', 'train[:1]'),
    'dataset.test_split': ('test[:50]', 'train[:50]', 'test[50%:51%]', 'test[:1]'),
    'dataset.validation': ('holdout', 'test'), 'dataset.holdout_size': ('1', '299', '300'),
    'model.features': ('(1,)', '(3,3)', '(1,1,1)', '(1,1,1,1,1)', '()'),
    'model.hidden_size': ('1', '0', '9'), 'model.num_classes': ('0', '9', '10', '11'),
    'model.conv': ('auto', 'winograd', 'patches', 'xla'),
    'model.dtype': ('bfloat16', 'float16', 'float64', 'int32'),
    'model.dropout_rate': ('0.5', '0.99', '1'), 'model.batch_norm': ('true', '1'),
    'loss.constructor': ('focal', 'mean_squared_error', 'optax.l2_loss'),
    'loss.label_smoothing': ('0.1', '1', '-0.1'),
    'optimizer.constructor': ('sgd', 'adamw', 'lion', 'optax.adam', 'lbfgs', 'noisy_sgd'),
    'optimizer.learning_rate': ('0', '1e30', '1e-30', '-1e-3'),
    'optimizer.weight_decay': ('0.1', '1e9'), 'optimizer.clip_norm': ('1', '1e-30'),
    'optimizer.b1': ('0.5', '0', '1', '2'),
    'schedule.constructor': ('constant', 'onecycle', 'step', 'optax.linear_schedule'),
    'schedule.warmup': ('0.1', '1', '0.99'), 'augment.strength': ('0.5', '2', '1e9'),
    'augment.rotation': ('10', '360'), 'augment.erase': ('0.3', '1'),
    'augment.elastic': ('1', '100'), 'checkpoint.every': ('0', '1', '99'),
    'checkpoint.keep': ('2', '99'), 'checkpoint.resume': ('false', '0'),
    'metrics.a.constructor': ('grad_norm', 'mnist_flax.recipe.objective.StepMetric'),
    'evaluators.a.constructor': ('mnist_flax.evaluators.worse_images.WorseImages', 'a.b'),
    'evaluators.a.every_steps': ('1', '3'),
    'writers.a.constructor': ('tensorboard', 'mnist_flax.writers.event_files.EventFiles'),
    'sweep.optimizer.learning_rate': ('(1e-3,1e-2)', '(1e-3,1e-3)', '1e-3'),
    'sweep.model.features': ('((1,),(2,))', '((1,),)'), 'sweep.seed': ('(1,2)',),
}  # fmt: skip

_GOOD = st.one_of([
    st.builds(f'--config.{field}={{}}'.format, st.sampled_from(values))
    for field, values in _PLAUSIBLE.items()
])  # fmt: skip

_OVERRIDES = st.one_of(
    _GOOD,
    _GOOD,
    _GOOD,
    _GOOD,
    st.builds('--config.{}={}'.format, st.sampled_from(_FIELDS), _VALUES),
    st.builds('--config.{}'.format, st.sampled_from(_FIELDS)),
    st.builds('-config.{}={}'.format, st.sampled_from(_FIELDS), _VALUES),
)

PROGRAMS = {  # with their own flags, and what they need to be more than a wrong flag
    'mnist_flax.main': (
        ('workdir', 'profile', 'distributed', 'coordinator_address', 'num_processes',
         'process_id', 'config'),
        ('--workdir={folder}/run', *_SMALL),
    ),
    'scripts/ablate.py': (
        ('workdir', 'seeds', 'variants', 'config'),
        ('--workdir={folder}/ablation', '--seeds=2', '--variants=a',
         '--config={folder}/c.py'),
    ),
    'scripts/predict.py': (
        ('workdir', 'constructor', 'framing', 'json', 'save_figure'), ('{folder}/a.png',),
    ),
    'scripts/evaluate.py': (
        ('workdir', 'constructor', 'dataset', 'data_dir', 'split', 'ood_dataset',
         'ood_data_dir', 'ood_split', 'report_dir'),
        ('--corruptions=false', '--split=test[:20]', '--report_dir={folder}/evaluation'),
    ),
    'scripts/export.py': (
        ('workdir', 'constructor', 'run', 'export_dir'),
        ('--workdir={folder}/none', '--export_dir={folder}/exported'),
    ),
    'scripts/prepare.py': (
        ('name', 'data_dir', 'size', 'framing', 'white', 'channels', 'class_names', 'seed',
         'image_key', 'label_key', 'pixels_shape', 'test_fraction', 'file_format'),
        ('{folder}/source', '--name=mine', '--data_dir={folder}/data'),
    ),
    'scripts/demo.py': (
        ('port', 'host', 'workdir', 'allow_host', 'framing'), ('--port=-1',),
    ),
}  # fmt: skip

_TEXTS = st.one_of(
    st.text(max_size=60),
    st.sampled_from([
        'from configs.default import get_config', 'def get_config(): pass',
        'def get_config(): return 3', 'def get_config(x): return x', 'import absent', '1/0',
        'from configs import default\ndef get_config():\n  c = default.get_config()\n'
        '  c.num_epochs = 1\n  c.dataset.train_split = "train[:300]"\n'
        '  c.dataset.test_split = "test[:50]"\n  c.model.features = (2,)\n'
        '  c.model.conv = "xla"\n  c.model.hidden_size = 4\n  c.optimizer = {}\n  return c',
        'raise SystemExit(3)', 'get_config = 1', 'while', '\x00', 'print("x")',
        'label,p0,p1,p2,p3\n0,1,2,3,4\n1,4,3,2,1\n', 'label\n', ',,,\n', 'label,p0\n0,x\n',
        'a,b\n"', '{"a": 1}', '\ufefflabel,p0,p1,p2,p3\n0,1,2,3,4\n', 'label,p0\n0,1e999\n',
    ]),
)  # fmt: skip


@st.composite
def draw_files(draw):
    """Draws a few small files: their names, and their contents."""
    files = {'a.png': _picture()}
    for name in ('a/1', 'a/2', 'b/1', 'b/2'):
        files[f'source/{name}.png'] = _picture()
    for name in draw(
        st.lists(
            st.sampled_from([
                'a.png', 'c.py', 'source', 'source.csv', 'source/a/1.png', 'source/b/2.png',
                'source/train/a/1.png', 'source/x.npz', 'source/train-images-idx3-ubyte',
                'source/train-labels-idx1-ubyte', 'source/t.parquet', 'source/1.heic',
            ]),
            max_size=5,
            unique=True,
        )
    ):  # fmt: skip
        content = draw(st.one_of(st.binary(max_size=60), _TEXTS.map(_encode), _PICTURES))
        files[name] = content
    return files


def _encode(text):
    return text.encode('utf-8', 'surrogatepass')


def _picture():
    pixels = np.full((40, 30), 255, np.uint8)
    pixels[8:32, 13:17] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()


@st.composite
def _draw_changed_picture(draw):
    content = bytearray(_picture())
    for _ in range(draw(st.integers(0, 3))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(
        content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
    )


_PICTURES = _draw_changed_picture()


@st.composite
def draw_command(draw):
    """Draws a program, what follows it, and the files that are there."""
    program = draw(st.sampled_from(sorted(PROGRAMS)))
    names, good = PROGRAMS[program]
    wrong = st.one_of(
        st.builds('--{}={}'.format, st.sampled_from(names), _VALUES),
        st.builds('--{}'.format, st.sampled_from(names)),
        st.builds('--no{}'.format, st.sampled_from(names)),
    )
    if 'config' in names:
        wrong = st.one_of(_OVERRIDES, _OVERRIDES, _OVERRIDES, wrong)
    others = st.one_of(
        wrong, wrong, wrong, wrong, st.builds('--{}'.format, _VALUES), _VALUES
    )
    drawn = draw(st.lists(others, min_size=1, max_size=2))
    kept = [word for word in good if draw(st.integers(0, 29)) != 0]
    arguments = (
        draw(st.permutations([*kept, *drawn])) if draw(st.booleans()) else [*kept, *drawn]
    )
    return program, [word for word in arguments if '\0' not in word], draw(draw_files())
