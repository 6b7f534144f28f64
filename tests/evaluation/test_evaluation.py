"""``scripts/evaluate.py``: what it measures, and what it says about bad input."""

import json

import numpy as np
import pytest
import tfds_directory
from repository import ROOT

from configs import default
from mnist_flax.common.errors import UserError
from mnist_flax.data.shards import Examples
from mnist_flax.evaluation import evaluation, misses, report
from mnist_flax.evaluation.corruptions import CORRUPTIONS
from mnist_flax.recognition.networks import PRETRAINED, load_networks
from mnist_flax.train import train_and_evaluate


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Two networks of a run that held images out, hardly trained, and so unsure."""
    config = default.get_config()
    config.num_epochs = 2
    config.runs = 2
    config.dataset.update(
        train_split='train[:3000]',
        test_split='test[:200]',
        validation='holdout',
        holdout_size=1000,
    )
    config.model.update({'features': (4, 8), 'hidden_size': 16})
    workdir = tmp_path_factory.mktemp('finished')
    return train_and_evaluate(config, str(workdir)).metrics, workdir


@pytest.fixture
def networks(finished):
    return load_networks(finished[1])


@pytest.fixture(scope='module')
def fashion(tmp_path_factory):
    """A data set of no digits: noise."""
    root = tmp_path_factory.mktemp('tfds')
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), np.uint8)
    tfds_directory.write(root, 'fashion', images, np.arange(200) % 7, num_classes=7)
    return root


FASHION = {'dataset': 'fashion', 'data_dir': '{fashion}'}


def evaluate(networks, with_corruptions=False, **chosen):
    flags = ('dataset', 'data_dir', 'split', 'ood_dataset', 'ood_data_dir')
    chosen = {**dict.fromkeys(flags, ''), 'ood_split': 'test', **chosen}
    return evaluation.evaluate(networks, **chosen, with_corruptions=with_corruptions)


def test_the_report_of_a_run(finished, networks, fashion, tmp_path):
    outsiders = {'ood_dataset': 'fashion', 'ood_data_dir': str(fashion)}
    evaluated = evaluate(networks, with_corruptions=True, **outsiders)
    files = report.write(tmp_path, evaluated, 'it')
    found = json.loads((tmp_path / 'evaluation.json').read_text())
    # The numbers of the run itself, of its ensemble.
    metrics, _ = finished
    assert (found['networks'], found['images']) == (2, 200)
    assert found['accuracy'] == metrics['ensemble']['test_accuracy']
    assert found['loss'] == pytest.approx(metrics['ensemble']['test_loss'], abs=1e-4)
    assert np.array(found['confusion_matrix']).sum() == 200
    assert found['corruptions'].keys() == CORRUPTIONS.keys()
    for severities in found['corruptions'].values():
        for of in severities:
            low, high = of['accuracy_95_percent_interval']
            assert low <= of['accuracy'] <= high
    # Networks so small are not confident enough, and noise is not a digit.
    assert found['temperature_scaling']['held_out_images'] == 1000
    assert found['temperature_scaling']['loss'] < found['loss']
    assert 0.5 < found['out_of_distribution']['area_under_roc'] <= 1
    text = (tmp_path / 'report.md').read_text()
    for line in (
        '# it (the mean of 2 networks) on mnist/3.0.1',
        f'| accuracy | {found["accuracy"]:.2%} |',
        f'A temperature of {found["temperature_scaling"]["temperature"]:.2f}',
        '200 of fashion/1.0.0 with an area under the ROC curve of',
    ):
        assert line in text
    # An image that both get wrong, found by its number.
    logits, test = (
        networks.logits(evaluated.split.examples.images),
        evaluated.split.examples,
    )
    wrong = logits.argmax(-1) != test.labels
    assert found['images_by_wrong_networks'] == [
        (wrong.sum(0) == number).sum() for number in (0, 1, 2)
    ]
    assert [of['image'] for of in found['wrong_by_all']] == [*np.flatnonzero(wrong.all(0))]
    first = found['wrong_by_all'][0]
    assert first['label'] == test.labels[first['image']]
    assert first['answers'] == logits[:, first['image']].argmax(-1).tolist()
    figures = {'confusion_matrix', 'corruptions', 'mistakes', 'reliability', 'wrong_by_all'}
    assert {*files} == {'evaluation.json', 'report.md', *(f'{of}.png' for of in figures)}
    assert all(f']({name}.png)' in text for name in figures)


@pytest.mark.slow
@pytest.mark.parametrize('arguments', [(), (f'--workdir={PRETRAINED.parent}/default',)])
def test_the_package_s_networks_are_evaluated_into_outputs(command, tmp_path, arguments):
    before = sorted(PRETRAINED.parent.rglob('*'))
    process = command(
        ROOT / 'scripts/evaluate.py',
        '--split=test[:300]',
        '--nocorruptions',
        *arguments,
        cwd=tmp_path,
        PYTHONPATH=str(ROOT),
    )
    assert process.returncode == 0, process.stderr
    folder = tmp_path / 'outputs/evaluation'
    found = json.loads((folder / 'evaluation.json').read_text())
    assert found['accuracy'] > 0.98
    assert 'corruptions' not in found
    assert f'accuracy {found["accuracy"]:.2%}' in process.stdout
    assert 'Not measured: `--ood_dataset`' in (folder / 'report.md').read_text()
    assert sorted(PRETRAINED.parent.rglob('*')) == before


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'data_dir': 'nowhere'}, "--data_dir: 'nowhere' is not a directory"),
        ({'split': 'tset'}, "--split: .*'tset'"),
        (
            FASHION,
            '--dataset: fashion/1.0.0 has the classes 0, 1, 2, 3, 4, 5, 6; it should',
        ),
        (
            {'ood_dataset': 'mnist'},
            '--ood_dataset: mnist/3.0.1 has the classes of the netw',
        ),
        ({'ood_split': 'train'}, '--ood_dataset: it is missing, while --ood_data_dir or'),
    ],
)
def test_bad_input_is_one_line(arguments, message, fashion, networks):
    chosen = {name: value.format(fashion=fashion) for name, value in arguments.items()}
    with pytest.raises(UserError, match=f'^{message}'):
        evaluate(networks, **chosen)


def to_text(evaluated):
    numbers = {**evaluated.numbers, 'device': 'cpu', 'versions': {}}
    return report.to_markdown(numbers, '0123456789', 'it')


@pytest.mark.parametrize(
    ('split', 'number', 'held_out'),
    [
        ('train[:100]', 100, 0),
        ('train[1950:2020]', 50, 20),
        ('train[2900:3100]', 0, 100),
        ('test', 0, 0),
    ],
)
def test_images_that_the_run_has_seen_are_reported(
    networks, tmp_path, split, number, held_out
):
    """The run has had train[:3000], of which it has held out the last third."""
    of_run = networks.about['config']['dataset']
    # Not called: a run from elsewhere could name any function.
    of_run['extra'] = {'constructor': 'os.mkdir', 'path': str(tmp_path / 'called')}
    evaluated = evaluate(networks, split=split)
    assert evaluated.numbers['images_seen_in_training'] == number
    text = to_text(evaluated)
    assert (f'**{number} of these images were used in training' in text) == bool(number)
    assert evaluated.numbers['images_held_out'] == held_out
    assert (f'**The run has held out {held_out} of these' in text) == bool(held_out)
    assert 'The extra training examples of the run were not compared' in text
    assert not (tmp_path / 'called').exists()


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'validation': 'test'}, 'the run has not held out any images'),
        ({'data_dir': '/nowhere'}, 'the data of the run cannot be loaded'),
    ],
)
def test_without_held_out_images_no_temperature_is_fitted(networks, change, reason):
    networks.about['config']['dataset'].update(change)
    evaluated = evaluate(networks, dataset='mnist', split='test[:50]')
    assert f'No temperature was fitted: {reason}' in to_text(evaluated)


def test_where_the_training_images_are_gone_the_report_does_not_say_that_none_was_seen(
    networks, tmp_path
):
    networks.about['config']['dataset']['data_dir'] = '/nowhere'
    evaluated = evaluate(networks, dataset='mnist', split='train[:100]')
    report.write(tmp_path, evaluated, 'it')
    found = json.loads((tmp_path / 'evaluation.json').read_text())
    assert found['images_seen_in_training'] is None
    assert (
        'These images could not be compared with the training images: the data of the run '
        "cannot be loaded (config.dataset.data_dir: '/nowhere' is not a directory"
    ) in (tmp_path / 'report.md').read_text()


def test_the_training_images_are_found_where_the_data_set_has_moved_to(networks, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28, 1), np.uint8)
    tfds_directory.write(tmp_path, 'mine', images, np.arange(60) % 10)
    networks.about['config']['dataset'].update(
        name='mine', data_dir='/nowhere', train_split='train[:40]', test_split='test',
        holdout_size=20,
    )  # fmt: skip
    numbers = evaluate(networks, data_dir=str(tmp_path)).numbers
    assert (numbers['images_seen_in_training'], numbers['images_held_out']) == (20, 20)


def test_a_run_that_does_not_name_its_data_is_one_line(networks):
    del networks.about['config']['dataset']['validation']
    with pytest.raises(UserError, match='--workdir: .* does not name its data set'):
        evaluate(networks)


def test_one_image_is_a_report_too(networks, tmp_path):
    report.write(tmp_path, evaluate(networks, split='test[:1]'), 'it')
    found = json.loads((tmp_path / 'evaluation.json').read_text())
    assert found['images'] == 1
    assert found['classes']['recall'].count(None) == 9
    assert ' | – |\n' in (tmp_path / 'report.md').read_text()


def test_which_images_how_many_networks_get_wrong_by_hand():
    """Three networks, four images: right, wrong by two, wrong by all in two ways."""
    answers = np.array([[0, 1, 2, 2], [0, 2, 2, 2], [0, 2, 2, 1]])
    found = misses.count(np.eye(3)[answers], np.array([0, 1, 2, 0]))
    assert found == {
        'images_by_wrong_networks': [2, 0, 1, 1],
        'wrong_by_all': [{'image': 3, 'label': 0, 'answers': [2, 2, 1]}],
    }
    text = misses.to_markdown(found, ('naught', 'one', 'two'))
    assert '| networks that are wrong | 0 | 1 | 2 | 3 |' in text
    assert '| images | 2 | 0 | 1 | 1 |' in text
    assert '| 3 | naught | two (2), one (1) |' in text
    assert 'wrong_by_all' not in misses.to_markdown({**found, 'wrong_by_all': []}, '012')


def test_of_many_images_that_all_networks_get_wrong_the_first_are_shown():
    found = misses.count(np.eye(2)[np.zeros((2, 60), int)], np.ones(60, int))
    text = misses.to_markdown(found, '01')
    assert 'The first 48 of 60 images that all miss, by their number in the split' in text
    assert '| 47 | 1 | 0 (2) |' in text
    assert '| 48 |' not in text
    images = Examples(np.zeros((60, 8, 8, 1), np.uint8), np.ones(60, np.int32))
    (axes,) = misses.plot(found, images, '01').axes
    assert [text.get_text() for text in axes.texts][-1] == '47: 1\n✗ 0 (2)'
