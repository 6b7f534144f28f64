"""Networks that learn from others, by configs/distilled.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from small_configs import small

from configs import distilled
from mnist_flax.common.errors import UserError
from mnist_flax.models.slow_ops import find_slow
from mnist_flax.recognition import networks
from mnist_flax.train import train_and_evaluate

pytestmark = pytest.mark.usefixtures('without_figures')


def taught(workdir, weight):
    """A student of the run in a workdir, with the config's temperature."""
    config = small(loss=distilled.get_config().loss, num_epochs=20)
    config.loss.weight = weight
    config.loss.teacher = {
        'constructor': 'configs.distilled.Teacher',
        'workdir': workdir,
        'network': 'research_parts.Small',
    }
    return config


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """The workdir of two networks that are often wrong, and their mean logits."""
    workdir = str(tmp_path_factory.mktemp('teacher'))
    result = train_and_evaluate(small(runs=2, num_epochs=1), workdir)
    return workdir, np.mean([run.logits for run in result.runs], axis=0)


@pytest.mark.slow
def test_a_student_answers_as_its_teacher_does(teacher):
    workdir, logits = teacher
    agreement = {}
    for weight in (0.0, 1.0):
        (run,) = train_and_evaluate(taught(workdir, weight)).runs
        agreement[weight] = np.mean(run.logits.argmax(-1) == logits.argmax(-1))
        accuracy = run.history['test_accuracy'][-1]
        assert (accuracy > agreement[weight]) == (weight == 0)
    assert agreement[1.0] > agreement[0.0] + 0.1


def test_the_loss_is_what_its_description_says():
    draw = np.random.default_rng(0)
    logits, of_teacher = draw.normal(size=(2, 5, 10)).astype('float32') * 3
    labels = jnp.arange(5)

    def teacher(images):
        return jnp.asarray(of_teacher) + 0 * images.sum()

    def loss(logits, weight):
        images = jnp.ones((5, 28, 28, 1))
        return distilled.distill(logits, labels, images, teacher, 2.0, weight)

    told = -scipy.special.log_softmax(logits, axis=-1)[np.arange(5), labels]
    of_both = scipy.special.softmax(of_teacher / 2, axis=-1)
    taught = -4 * (of_both * scipy.special.log_softmax(logits / 2, axis=-1)).sum(axis=-1)
    np.testing.assert_allclose(loss(logits, 0.9), 0.9 * taught + 0.1 * told, rtol=1e-5)
    # Nothing is left to learn from a teacher whose answers one gives.
    gradient = jax.grad(lambda x: loss(x, 1.0).sum())(jnp.asarray(of_teacher))
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_a_teacher_of_the_package_s_own_network_is_not_slow():
    workdir = str(networks.PRETRAINED.parent / 'default')
    teacher = distilled.Teacher(workdir, networks.DEFAULT_CONSTRUCTOR)
    assert find_slow(jax.make_jaxpr(teacher)(jnp.zeros((2, 28, 28, 1)))) == []


def test_a_teacher_that_is_missing_is_named(tmp_path):
    config = taught(str(tmp_path / 'nobody'), 0.9)
    with pytest.raises(
        UserError, match=r'^config\.loss\.teacher: \S*nobody. holds no finished run'
    ):
        train_and_evaluate(config)


def test_a_student_is_not_resumed_with_another_teacher(tmp_path):
    """The config is the same: its workdir holds other networks now."""
    workdir = str(tmp_path / 'teacher')
    teacher = small(num_epochs=1)
    student = taught(workdir, 0.9)
    student.num_epochs = 1

    def learn():
        return train_and_evaluate(student, str(tmp_path / 'student')).runs[0].logits

    train_and_evaluate(teacher, workdir)
    first = learn()
    np.testing.assert_array_equal(learn(), first)
    teacher.seed = 1
    teacher.checkpoint.resume = False
    train_and_evaluate(teacher, workdir)
    with pytest.raises(UserError, match='other settings .source.loss.teacher .*, here '):
        learn()
