"""``scripts/evaluate.py``: what it measures, and what it says of bad input."""

import json
import re

import numpy as np
import pytest
import tfds_directory
from conftest import ROOT

from configs import default
from mnist_flax.evaluation.evaluation import evaluation, report, scores
from mnist_flax.recognition import recognizer
from mnist_flax.common.errors import UserError
from mnist_flax.evaluation.corruptions import CORRUPTIONS
from mnist_flax.evaluation.report import to_markdown
from mnist_flax.train import train_and_evaluate


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Two networks that have held images out, hardly trained, and so unsure."""
    config = default.get_config()
    config.num_epochs = 2
    config.runs = 2
    config.dataset.update(
        train_split='train[:3000]',
        test_split='test[:400]',
        validation='holdout',
        holdout_size=1000,
    )
    config.model.update({'features': (4, 8), 'hidden_size': 16})
    workdir = tmp_path_factory.mktemp('finished')
    return train_and_evaluate(config, str(workdir)).metrics, workdir


@pytest.fixture(scope='module')
def fashion(tmp_path_factory):
    """A data set of no digits: noise."""
    root = tmp_path_factory.mktemp('tfds')
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), np.uint8)
    tfds_directory.write(root, 'fashion', images, np.arange(200) % 7, num_classes=7)
    return root


def test_the_report_of_a_run(finished, fashion, command):
    metrics, workdir = finished
    process = command(
        'scripts/evaluate.py',
        f'--workdir={workdir}',
        '--ood_dataset=fashion',
        f'--ood_data_dir={fashion}',
    )
    assert process.returncode == 0, process.stderr
    folder = workdir / 'evaluation'
    found = json.loads((folder / 'evaluation.json').read_text())
    # Those of the run itself, of its ensemble.
    assert (found['networks'], found['images']) == (2, 400)
    assert found['accuracy'] == metrics['ensemble']['test_accuracy']
    assert found['loss'] == pytest.approx(metrics['ensemble']['test_loss'], abs=1e-4)
    assert np.array(found['confusion_matrix']).sum() == 400
    assert found['corruptions'].keys() == CORRUPTIONS.keys()
    for severities in found['corruptions'].values():
        for of in severities:
            low, high = of['accuracy_95_percent_interval']
            assert low <= of['accuracy'] <= high
    # Networks so small are too unsure, and noise is no digit.
    assert found['temperature_scaling']['held_out_images'] == 1000
    assert found['temperature_scaling']['loss'] < found['loss']
    assert 0.5 < found['out_of_distribution']['area_under_roc'] <= 1
    report = (folder / 'report.md').read_text()
    for line in (
        f'# {workdir} (the mean of 2 networks) on mnist/3.0.1',
        f'| accuracy | {found["accuracy"]:.2%} |',
        f'A temperature of {found["temperature_scaling"]["temperature"]:.2f}',
        '200 of fashion/1.0.0 with an area under the ROC curve of',
    ):
        assert line in report
    figures = sorted(path.name for path in folder.glob('*.png'))
    assert figures == [
        'confusion_matrix.png',
        'corruptions.png',
        'mistakes.png',
        'reliability.png',
    ]
    assert all(f']({name})' in report for name in figures)
    assert f'accuracy {found["accuracy"]:.2%}' in process.stdout


@pytest.mark.slow
def test_right_after_installation(command, tmp_path):
    process = command(
        ROOT / 'scripts/evaluate.py',
        '--split=test[:300]',
        '--nocorruptions',
        cwd=tmp_path,
        PYTHONPATH=str(ROOT),
    )
    assert process.returncode == 0, process.stderr
    found = json.loads((tmp_path / 'evaluation/evaluation.json').read_text())
    assert found['accuracy'] > 0.98
    assert 'corruptions' not in found
    assert not (tmp_path / 'evaluation/corruptions.png').exists()
    assert (
        'Not measured: `--ood_dataset`' in (tmp_path / 'evaluation/report.md').read_text()
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'dataset': 'mnits'}, "--dataset: found 'mnits'"),
        ({'split': 'tset'}, "--split: found 'tset'; allowed: the splits "),
        ({'data_dir': 'nowhere'}, "--data_dir: found 'nowhere', which is no directory"),
        (
            {'dataset': 'fashion', 'data_dir': '{fashion}'},
            '--dataset: found fashion/1.0.0 with the classes 0, 1, 2, 3, 4, 5, 6; ',
        ),
        ({'ood_dataset': 'fashion', 'ood_data_dir': 'no'}, "--ood_data_dir: found 'no'"),
        ({'ood_dataset': 'mnist', 'ood_split': 'test'}, '--ood_dataset: found mnist/3.0.1'),
        ({'ood_split': 'train'}, '--ood_dataset: missing, while another flag says where'),
        (
            {'ood_dataset': 'fashion', 'ood_data_dir': '{fashion}', 'ood_split': 'all_'},
            "--ood_split: found 'all_'",
        ),
    ],
)
def test_bad_input_is_said(arguments, message, fashion, finished):
    chosen = {name: value.format(fashion=fashion) for name, value in arguments.items()}
    with pytest.raises(UserError, match=f'^{re.escape(message)}'):
        evaluate(finished[1], **chosen)


@pytest.mark.slow
def test_a_report_that_cannot_be_written_is_one_line(finished, command):
    process = command(
        'scripts/evaluate.py',
        f'--workdir={finished[1]}',
        '--nocorruptions',
        '--report_dir=README.md',
    )
    assert process.returncode == 1
    assert process.stderr.startswith("error: --report_dir: cannot write to 'README.md'")
    assert process.stderr.count('\n') == 1


def evaluate(workdir, **chosen):
    flags = ('dataset', 'data_dir', 'split', 'ood_dataset', 'ood_data_dir', 'ood_split')
    chosen = dict.fromkeys(flags, '') | chosen
    return evaluation.evaluate(recognizer.load(workdir), **chosen, with_corruptions=False)


def test_one_image_is_a_report_too(finished, tmp_path):
    evaluated = evaluate(finished[1], split='test[:1]')
    report.write(tmp_path, evaluated, 'it')
    assert json.loads((tmp_path / 'evaluation.json').read_text())['images'] == 1
    assert ' | – |\n' in (tmp_path / 'report.md').read_text()


@pytest.mark.parametrize(
    ('split', 'number'), [('train[:100]', 100), ('train[2900:3100]', 100), ('test', 0)]
)
def test_images_that_were_trained_on_are_said(finished, split, number):
    """The run has had train[:3000], of which it has held out a third."""
    evaluated = evaluate(finished[1], split=split)
    assert evaluated.numbers['images_seen_in_training'] == number
    report = to_markdown(
        {**evaluated.numbers, 'device': '', 'versions': {}}, '0123456789', 'it'
    )
    assert (f'**{number} of these images were trained on' in report) == bool(number)


def test_a_run_that_does_not_name_its_data_is_one_line(finished):
    recognizer = recognizer.load(finished[1])
    del recognizer.about['config']['dataset']['validation']
    with pytest.raises(
        UserError, match='--workdir: found a run that does not name its data'
    ):
        evaluation.evaluate(recognizer, '', '', '', '', '', '', with_corruptions=False)


def test_without_held_out_images_no_temperature_is_fitted(finished):
    _, workdir = finished
    recognizer = recognizer.load(workdir)
    for change, reason in (
        ({'validation': 'test'}, 'the run has held no images out'),
        ({'data_dir': '/nowhere'}, 'its held-out images cannot be loaded'),
    ):
        recognizer.about['config']['dataset'].update({'validation': 'holdout', **change})
        found = evaluation.evaluate(
            recognizer, 'mnist', '', 'test[:50]', '', '', '', with_corruptions=False
        )
        numbers = {**found.numbers, 'device': 'cpu', 'versions': {}}
        assert reason in numbers['temperature_scaling']['not_fitted']
        assert f'No temperature was fitted: {reason}' in to_markdown(
            numbers, recognizer.class_names, 'it'
        )


def test_a_class_without_images_is_a_dash(mnist):
    zeros = mnist.test.labels == 0
    examples = mnist.test.slice(0, 0)._replace(
        images=mnist.test.images[zeros], labels=mnist.test.labels[zeros]
    )
    probabilities = np.full((zeros.sum(), 10), 0.01)
    probabilities[:, 0] = 0.91
    numbers = evaluation.measure(probabilities, examples)
    assert numbers['accuracy'] == 1
    assert np.isnan(numbers['classes']['recall'][1])
    assert scores.class_scores(np.array(numbers['confusion_matrix'])).f1[0] == 1
