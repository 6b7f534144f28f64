"""The classic brief: a small CNN on MNIST, Adam, batches of 128, 10 epochs."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings; any field can be set as ``--config.field=value``."""
    config = ConfigDict()
    config.seed = 0  # of all randomness; the same bits if run likewise on the same machine
    config.runs = 1  # networks to train, with the seeds seed, seed + 1, ...
    config.runs_at_once = 0  # of these; 0 = one on each CPU core, or all that a GPU holds
    config.num_epochs = 10  # passes over the training set
    config.batch_size = 128  # examples a step, over all devices
    config.microbatch_size = 0  # of these whose gradient a device computes at once; 0 = all
    # (on a CPU 64, in batches of over 128, if the network is ours without batch norm)
    config.num_devices = 0  # for runs and batches; 0 = all accelerators, or CPU cores
    config.matmul_precision = 'float32'  # 'tensorfloat32', 'bfloat16': faster, round more

    config.ema_decay = 0.0  # of the parameters' moving average, which is tested; 0 = none
    config.log_every_steps = 0  # of an epoch, between lines of metrics.jsonl; 0 = none

    config.dataset = ConfigDict()
    config.dataset.name = 'mnist'  # TFDS data set of images, such as 'fashion_mnist'
    config.dataset.data_dir = ''  # TFDS directory; '' = embedded MNIST, else TFDS's default
    config.dataset.train_split = 'train'  # in TFDS's syntax, such as 'train[:2000]'
    config.dataset.test_split = 'test'  # likewise
    config.dataset.validation = 'test'  # after each epoch: 'test', or 'holdout' from train
    config.dataset.holdout_size = 5000  # examples; used by 'holdout' only
    config.dataset.extra = ConfigDict()  # a constructor of more training examples, if any

    config.model = ConfigDict()
    config.model.constructor = 'mnist_flax.models.create_model'  # gets the fields below
    config.model.features = (32, 64)  # filters of each 3x3 convolution
    config.model.hidden_size = 128  # units of the dense layer before the logits
    config.model.num_classes = 0  # logits; 0 = as many as the data set has classes
    config.model.conv = 'auto'  # or 'winograd' (for CPUs), 'patches', 'xla'
    config.model.dtype = 'float32'  # of activations; or 'bfloat16', for GPUs and TPUs
    config.model.dropout_rate = 0.0  # of the dense layer; half of it for feature maps
    config.model.batch_norm = False  # before each ReLU of the convolutions

    # Where there is a constructor, its other arguments can be set too, such as
    # config.loss.label_smoothing or config.schedule.warmup: docs/research.md lists them.
    config.loss = ConfigDict()
    config.loss.constructor = 'cross_entropy'  # or 'focal', 'mean_squared_error', your own

    config.optimizer = ConfigDict()
    config.optimizer.constructor = 'adam'  # or another of Optax, such as 'sgd'; your own
    config.optimizer.learning_rate = 1e-3  # the highest one of the run
    config.optimizer.weight_decay = 0.0  # decoupled; for 'adamw', 'lion' and the like
    config.optimizer.clip_norm = 0.0  # largest norm of a gradient; 0 = any

    config.schedule = ConfigDict()  # of the learning rate
    config.schedule.constructor = 'cosine'  # falls to 0; or 'constant', 'onecycle', 'step'

    config.augment = ConfigDict()  # of training images; each amount is drawn up to the most
    config.augment.constructor = 'mnist_flax.data.augment.create_augment'  # gets those
    config.augment.strength = 1.0  # multiplies all of them
    config.augment.rotation = 0.0  # degrees, either way
    config.augment.scale = 0.0  # part of the height, and of the width
    config.augment.shear = 0.0  # pixels that a row slides for each from the middle
    config.augment.shift = 0.0  # pixels
    config.augment.elastic = 0.0  # standard deviation of a smooth deformation, in pixels
    config.augment.erase = 0.0  # part of the height, and of the width, that is blackened

    # These hold subtrees with a constructor each, by a name of your choice.
    config.metrics = ConfigDict()  # of each training step, such as the gradient's norm
    config.evaluators = ConfigDict()  # what else is measured while the run trains
    config.writers = ConfigDict()  # of metrics, such as TensorBoard's
    config.sweep = ConfigDict()  # values of fields to compare, such as (1e-3, 3e-3)

    config.checkpoint = ConfigDict()  # of the training, so that it can be resumed
    config.checkpoint.every = 1  # epochs; 0 = after the last one only
    config.checkpoint.keep = 3  # the last of them
    config.checkpoint.resume = True  # the run in the workdir; False = keep it, start afresh
    config.checkpoint.allow_changes = False  # of settings in a run that is resumed
    return config
