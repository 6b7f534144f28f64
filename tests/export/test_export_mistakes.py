"""What cannot be exported, or would be wrong: one line each, and nothing is written."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from network_to_export import change, run

from mnist_flax.data.datasets import datasets
from mnist_flax.export.export import export, onnx_graph
from mnist_flax.common.errors import UserError


def forget_the_order_of_inputs(monkeypatch):
    monkeypatch.setattr(onnx_graph, '_channels_first', lambda kernel, side: kernel)


def normalize_otherwise(monkeypatch):
    monkeypatch.setattr(data, 'normalize', lambda images: images.astype(jnp.float32) / 256)


@pytest.mark.parametrize(
    ('break_it', 'name'),
    [(forget_the_order_of_inputs, 'onnx'), (normalize_otherwise, 'stablehlo')],
)
def test_a_file_that_says_something_else_is_not_written(
    tmp_path, monkeypatch, capsys, break_it, name
):
    workdir = change(tmp_path)
    break_it(monkeypatch)
    message = (
        rf'^model.{name}: found \d+ of 600 .*; allowed: all, and .*nothing was written$'
    )
    with pytest.raises(UserError, match=message):
        run(workdir, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()
    assert capsys.readouterr().out == ''


def test_logits_count_and_not_predictions_only():
    logits = np.float32([[1, 3], [2, 1]])
    assert export.compare('a', logits, logits).startswith('2 of 2 predictions')
    for wrong in (logits * 1.01, logits[:, ::-1], logits * np.nan):
        with pytest.raises(UserError, match='^a: found'):
            export.compare('a', wrong, logits)
    tie = np.float32([[1.00001, 3], [1, 1.00001]])
    with pytest.raises(UserError, match='^a: found 1 of 2'):
        export.compare('a', np.float32([[1, 3], [1.00001, 1]]), tie)


@pytest.mark.parametrize('package', ['onnx', 'onnxruntime'])
def test_a_missing_extra_is_one_line(tmp_path, monkeypatch, package):
    workdir = change(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    expected = rf"^{package} is missing; allowed: pip install -e '.\[export\]'$"
    with pytest.raises(UserError, match=expected):
        run(workdir, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    workdir = change(tmp_path)
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(UserError, match='--export_dir: cannot write into .* a folder, whi'):
        run(workdir, tmp_path / 'file')


def forget_the_data(about):
    del about['config']['dataset']['name']


def forget_the_seeds(about):
    del about['runs'][0]['changes']


def name_absent_data(about):
    about['config']['dataset']['name'] = 'mnist:9.9.9'


def name_other_data(about):
    about['class_names'] = [*'abcdefghij']


@pytest.mark.parametrize(
    ('change_about', 'message'),
    [
        (forget_the_data, 'a run that does not name its data'),
        (forget_the_seeds, 'a run that does not say how it was trained'),
        (name_absent_data, "config.dataset.*: found 'mnist:9.9.9'; allowed: the embedded"),
        (name_other_data, 'with the classes 0, 1, .*; allowed: those of the network, a, b'),
    ],
)
def test_a_run_without_its_facts_is_one_line(tmp_path, change_about, message):
    with pytest.raises(UserError, match=message):
        run(change(tmp_path, change_about), tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_a_report_that_is_none_is_one_line(tmp_path):
    workdir = change(tmp_path)
    for content in ('{', '[]', '{"test_accuracy": 0.5}'):
        (workdir / 'metrics.json').write_text(content)
        with pytest.raises(UserError, match='metrics.json no report of a run'):
            run(workdir, tmp_path / 'new')


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        (('--run=first',), 2, 'error: flag --run=first'),
        (('outputs',), 2, "error: unexpected argument 'outputs'"),
    ],
)
def test_bad_arguments_are_one_line(command, arguments, status, message):
    process = command('scripts/export.py', *arguments)
    assert process.returncode == status
    assert process.stderr.startswith(message)
    assert process.stderr.count('\n') == 1
