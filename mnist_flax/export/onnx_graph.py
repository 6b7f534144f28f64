"""The network as an ONNX graph, for programs that know nothing of JAX."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

import mnist_flax
from mnist_flax.common.errors import UserError
from mnist_flax.models.cnn import CNN

# Both of 2021, so that runtimes since then can read it.
_OPSET, _IR_VERSION = 15, 8

_EPSILON = 1e-5  # flax's default for BatchNorm

_INSTALL = "is not installed; pip install -e '.[export]' installs it"


def to_onnx(
    model: CNN, variables: Mapping[str, Any], image_shape: tuple[int, ...]
) -> bytes:
    """Writes the network as a graph from uint8 images to logits.

    It is written node by node: a converter of any JAX program needs twice the nodes, to
    compute shapes that are known here and to transpose arrays there and back.

    Args:
      model: The network; the graph computes in float32, whatever its own type.
      variables: Its parameters, and the statistics of batch norm.
      image_shape: Height, width and channels of the images.

    Returns:
      A file's content. Its input ``images`` is uint8 of (batch, height, width, channels),
      its output ``logits`` float32 of (batch, classes).

    Raises:
      UserError: ONNX is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise UserError(f'onnx {_INSTALL}') from error
    nodes: list[Any] = []
    weights: list[Any] = []
    last = 'images'

    def add(kind: str, name: str, arrays: Mapping[str, Any], **attributes) -> None:
        """Adds a node whose input is the output of the last one."""
        nonlocal last
        inputs = [last, *(f'{name}.{key}' for key in arrays)]
        nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        weights.extend(
            numpy_helper.from_array(np.asarray(array, np.float32), f'{name}.{key}')
            for key, array in arrays.items()
        )
        last = name

    variables = jax.tree.map(np.asarray, variables)
    params = variables['params']
    add('Cast', 'float', {}, to=TensorProto.FLOAT)
    add('Div', 'normalized', {'most': np.float32(255)})
    add('Transpose', 'channels_first', {}, perm=[0, 3, 1, 2])
    height, width, _ = image_shape
    for i in range(len(model.features)):
        of_layer = params[f'ConvReluPool_{i}']
        arrays = {'kernel': of_layer['kernel'].transpose(3, 2, 0, 1)}
        if not model.batch_norm:
            # Added before the maximum, which gives the same as adding it after.
            arrays['bias'] = of_layer['bias']
        add('Conv', f'conv_{i}', arrays, kernel_shape=[3, 3])
        add('MaxPool', f'pooled_{i}', {}, kernel_shape=[2, 2], strides=[2, 2])
        if model.batch_norm:
            norm = of_layer['BatchNorm_0']
            statistics = variables['batch_stats'][f'ConvReluPool_{i}']['BatchNorm_0']
            arrays = {'scale': norm['scale'], 'bias': norm['bias'], **statistics}
            arrays = {key: arrays[key] for key in ('scale', 'bias', 'mean', 'var')}
            add('BatchNormalization', f'norm_{i}', arrays, epsilon=_EPSILON)
        add('Relu', f'relu_{i}', {})
        height, width = (height - 2) // 2, (width - 2) // 2
    add('Flatten', 'flat', {})
    hidden, output = params['Dense_0'], params['Dense_1']
    kernel = _channels_first(hidden['kernel'], height, width)
    add('Gemm', 'hidden', {'kernel': kernel, 'bias': hidden['bias']})
    add('Relu', 'relu_hidden', {})
    add('Gemm', 'logits', {'kernel': output['kernel'], 'bias': output['bias']})
    make_info = helper.make_tensor_value_info
    images = make_info('images', TensorProto.UINT8, ['batch', *image_shape])
    logits = make_info('logits', TensorProto.FLOAT, ['batch', model.num_classes])
    graph = helper.make_graph(nodes, 'mnist_flax', [images], [logits], weights)
    proto = helper.make_model(
        graph,
        producer_name='mnist_flax',
        producer_version=mnist_flax.__version__,
        opset_imports=[helper.make_opsetid('', _OPSET)],
        ir_version=_IR_VERSION,
    )
    checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def list_nodes(content: bytes) -> list[str]:
    """Lists the kinds of nodes in a graph, in their order."""
    import onnx

    return [node.op_type for node in onnx.load_from_string(content).graph.node]


def run_onnx(
    content: bytes, batches: list[np.ndarray]
) -> Float[np.ndarray, 'images classes']:
    """Computes the logits of batches of images by ONNX Runtime on the CPU.

    Raises:
      UserError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f'onnxruntime {_INSTALL}') from error
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    return np.concatenate(
        [session.run(['logits'], {'images': batch})[0] for batch in batches]
    )


def _channels_first(
    kernel: Float[np.ndarray, 'inputs units'], height: int, width: int
) -> Float[np.ndarray, 'inputs units']:
    """Sorts a dense layer's inputs by channel, as ONNX flattens them, not by pixel."""
    by_pixel = kernel.reshape(height, width, -1, kernel.shape[1])
    return by_pixel.transpose(2, 0, 1, 3).reshape(kernel.shape)
