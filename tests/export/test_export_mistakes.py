"""What cannot be exported, or would be wrong: one line each, and nothing is written."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from network_to_export import change, run

from mnist_flax.common.errors import UserError
from mnist_flax.data import datasets
from mnist_flax.export import export, onnx_graph


def use_another_order(monkeypatch):
    monkeypatch.setattr(onnx_graph, '_channels_first', lambda kernel, *size: kernel)


def use_another_scale(monkeypatch):
    normalize = lambda images: images.astype(jnp.float32) / 256  # noqa: E731
    monkeypatch.setattr(datasets, 'normalize', normalize)


@pytest.mark.parametrize(
    ('break_it', 'name'), [(use_another_order, 'onnx'), (use_another_scale, 'stablehlo')]
)
def test_a_file_with_other_predictions_is_not_written(
    tmp_path, monkeypatch, capsys, break_it, name
):
    workdir = change(tmp_path)
    break_it(monkeypatch)
    message = rf'^model.{name}: \d+ of 600 predictions are .*; nothing was written$'
    with pytest.raises(UserError, match=message):
        run(workdir, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()
    assert capsys.readouterr().out == ''


def test_logits_count_and_not_predictions_only():
    logits = np.float32([[1, 3], [2, 1]])
    assert export.compare('a', logits, logits).startswith('2 of 2 predictions')
    for wrong in (logits * 1.01, logits[:, ::-1], logits * np.nan):
        with pytest.raises(UserError, match='^a: . of 2 predictions'):
            export.compare('a', wrong, logits)
    tie = np.float32([[1.00001, 3], [1, 1.00001]])
    with pytest.raises(UserError, match='^a: 1 of 2 predictions'):
        export.compare('a', np.float32([[1, 3], [1.00001, 1]]), tie)


class Callback(nn.Module):
    def __call__(self, images):
        shape = jax.ShapeDtypeStruct((len(images), 10), 'float32')
        return jax.pure_callback(lambda x: np.zeros((len(x), 10), 'float32'), shape, images)


def test_a_model_that_jax_cannot_export_is_one_line():
    with pytest.raises(UserError, match='^model.stablehlo: jax.export cannot export this'):
        export.to_stablehlo(Callback(), {}, (28, 28, 1))


@pytest.mark.parametrize('package', ['onnx', 'onnxruntime'])
def test_a_missing_extra_is_one_line(tmp_path, monkeypatch, package):
    workdir = change(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    expected = rf"^{package} is not installed; pip install -e '.\[export\]' installs it$"
    with pytest.raises(UserError, match=expected):
        run(workdir, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    workdir = change(tmp_path)
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(
        UserError, match=f'^--export_dir: cannot write to .*{tmp_path}/file'
    ):
        run(workdir, tmp_path / 'file')


def test_a_run_without_its_facts_is_one_line(tmp_path):
    def forget_the_data(about):
        del about['config']['dataset']['name']

    def forget_the_changes(about):
        del about['runs'][0]['changes']

    def name_absent_data(about):
        about['config']['dataset']['name'] = 'mnist:9.9.9'

    def name_other_classes(about):
        about['class_names'] = [*'abcdefghij']

    for change_about, message in (
        (forget_the_data, 'the run does not say which data it used'),
        (forget_the_changes, 'the run does not say how it was trained'),
        (name_absent_data, "config.dataset.name: 'mnist:9.9.9' is not the embedded ver"),
        (name_other_classes, 'has the classes 0, 1, .*, but the network has a, b, '),
    ):
        with pytest.raises(UserError, match=message):
            run(change(tmp_path, change_about), tmp_path / 'new')
    workdir = change(tmp_path)
    for content in ('{', '[]', '{"test_accuracy": 0.5}'):
        (workdir / 'metrics.json').write_text(content)
        with pytest.raises(UserError, match='metrics.json is not the report of a run'):
            run(workdir, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()
