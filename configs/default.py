"""The classic brief: a small CNN on MNIST, Adam, batches of 128, 10 epochs."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings; any field can be set as ``--config.field=value``."""
    config = ConfigDict()
    config.seed = 0  # of all randomness; gives the same bits on the same number of devices
    config.num_epochs = 10  # passes over the training set
    config.batch_size = 128  # examples a step, over all devices
    config.num_devices = 0  # that share each batch; 0 = all accelerators, or CPU cores
    config.matmul_precision = 'float32'  # or 'tensorfloat32': faster on GPUs, rounds more

    config.dataset = ConfigDict()
    config.dataset.name = 'mnist'  # TFDS data set of 28x28x1 images, such as 'kmnist'
    config.dataset.data_dir = ''  # TFDS directory; '' = embedded MNIST, else TFDS's default
    config.dataset.train_split = 'train'  # in TFDS's syntax, such as 'train[:2000]'
    config.dataset.test_split = 'test'  # likewise
    config.dataset.validation = 'test'  # after each epoch: 'test', or 'holdout' from train
    config.dataset.holdout_size = 5000  # examples; used by 'holdout' only

    config.model = ConfigDict()
    config.model.features = (32, 64)  # filters of each 3x3 convolution
    config.model.hidden_size = 128  # units of the dense layer before the logits
    config.model.num_classes = 10  # logits; must be the data set's number of classes
    config.model.conv = 'auto'  # 'winograd' (on CPUs), 'xla' (elsewhere), or 'auto'
    config.model.dtype = 'float32'  # of activations; or 'bfloat16', for GPUs and TPUs

    config.optimizer = ConfigDict()
    config.optimizer.name = 'adam'  # or another of optax, such as 'adamw', 'sgd', 'lion'
    config.optimizer.learning_rate = 1e-3  # step size at the start
    config.optimizer.schedule = 'cosine'  # falls to 0 over the run; or 'constant'
    return config
