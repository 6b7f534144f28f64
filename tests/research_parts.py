"""What a researcher might write: parts of a recipe, right and wrong, for the tests."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax


class Small(nn.Module):
    """A network that is compiled in a second."""

    width: int = 16

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(self.width)(images.reshape(len(images), -1)))
        return nn.Dense(10)(x)


class Wide(nn.Module):
    """Is as wide for each class."""

    width: int
    num_classes: int

    @nn.compact
    def __call__(self, images):
        x = nn.Dense(self.width * self.num_classes)(images.reshape(len(images), -1))
        return nn.Dense(self.num_classes)(nn.relu(x))


class TwoHeads(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(16)(images.reshape(len(images), -1)))
        return nn.Dense(10)(x), {'early': nn.Dense(10)(x)}


class Dropping(nn.Module):
    """Gets its rate with each batch."""

    dropout_rate: float

    @nn.compact
    def __call__(self, images, dropout=None):
        x = images.reshape(len(images), -1)
        if dropout is not None:
            x = x * (1 - dropout.rate)
        return nn.Dense(10)(x)


class Keeping(nn.Module):
    dropout_rate: float

    @nn.compact
    def __call__(self, images, train=False):
        x = images.reshape(len(images), -1)
        return nn.Dense(10)(nn.Dropout(self.dropout_rate, deterministic=not train)(x))


# --- Losses.


def power(logits, labels, exponent):
    probability = jax.nn.softmax(logits)[jnp.arange(len(labels)), labels]
    return (1 - probability**exponent) / exponent


def of_both_heads(logits, labels, aux, weight):
    early = optax.softmax_cross_entropy_with_integer_labels(aux['early'], labels)
    return weight * early + optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def brightness(logits, labels, images):
    return images.mean((1, 2, 3)) + 0 * logits.sum(axis=-1)


def branching(logits, labels, exponent):
    """Cannot be traced with its number."""
    return power(logits, labels, exponent if exponent > 0.1 else 0.1)


def one_number(logits, labels):
    return power(logits, labels, 1.0).mean()


def not_finite(logits, labels):
    return jnp.log(power(logits, labels, 1.0) - 2)


def failing(logits, labels):
    raise RuntimeError('no luck')


def of_one(logits):
    return logits.sum(axis=-1)


def not_traceable(logits, labels):
    return np.asarray(logits)[:, 0]


class Teacher:
    digest = 'first'


def taught(logits, labels, teacher: Teacher):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


# --- Optimizers and schedules.


def momentum(learning_rate, decay):
    return optax.sgd(learning_rate, decay)


def fixed(learning_rate, decay):
    """Cannot be traced with its number."""
    return optax.sgd(learning_rate, float(decay))


def no_optimizer(learning_rate):
    return learning_rate


def halves(num_steps, rise):
    return lambda step: jnp.where(step < num_steps // 2, rise, 1.0)


def pairs():
    return lambda step: jnp.stack([step, step])


def branching_schedule():
    return lambda step: 1.0 if step < 5 else 0.1


# --- Metrics of a step.


def logit_size(logits, mask):
    return jnp.mean(jnp.abs(logits).max(axis=-1), where=mask)


def all_logits(logits):
    return logits


# --- Evaluators.


def first_images(dataset, count):
    images, labels = dataset.validation.slice(0, count)

    def evaluate(predict, step, seed):
        wrong = predict(images).argmax(-1) != labels
        return {'error': wrong.mean(), 'step': step, 'seed': seed}

    return evaluate


def failing_later():
    def evaluate(predict):
        return {'value': predict(np.zeros((1, 8, 8, 1), np.uint8)).mean()}

    return evaluate


def of_text():
    return lambda predict: {'value': 'high'}


def no_function():
    return 3


def accuracy_of_nothing():
    return lambda predict: {'accuracy': 0.5}


def half():
    return lambda predict: 0.5


def refilling(dataset):
    images = dataset.validation.images[:10].copy()

    def evaluate(predict):
        images[:] = dataset.validation.images[:10]
        first = predict(images).sum()
        images[:] = 0
        return {'first': first, 'second': predict(images).sum(), 'nothing': np.nan}

    return evaluate


# --- Writers.


class Collect:
    """Keeps the records in a file of its own."""

    def __init__(self, workdir, first_step):
        self._file = (workdir / 'collected.txt').open('a')
        self._file.write(f'from {first_step}\n')

    def write(self, record):
        self._file.write(f'{record["event"]} {record["run"]} {record["step"]}\n')

    def close(self):
        self._file.close()


class Failing:
    def write(self, record):
        raise ConnectionError('no network')

    def close(self):
        pass


class Numbers:
    """A writer with a file of its own, opened to append."""

    def __init__(self, workdir):
        self.file = (workdir / 'numbers.csv').open('a')

    def write(self, record):
        self.file.write(f'{record["run"]},{record["step"]}\n')

    def close(self):
        self.file.close()


class NoClose:
    def write(self, record):
        pass


# --- Sweeps.


def two_points():
    return [
        {'optimizer.learning_rate': 1e-3, 'batch_size': 50},
        {'optimizer.learning_rate': 1e-2, 'batch_size': 100},
    ]


def no_points():
    return {'optimizer.learning_rate': 1e-3}


def of_numpy():
    return [{'optimizer.learning_rate': rate} for rate in np.geomspace(1e-3, 1e-1, 3)]


def overlapping():
    return [{'schedule': {'constructor': 'cosine'}, 'schedule.final': 0.1}]


# --- Parts that ask for what they do not get.


def of_predict(predict):
    return {'own': 0.0}


def named_by_seed():
    return lambda seed: {f'{seed}': 1.0}


def of_input(inputs):
    return inputs.mean()
