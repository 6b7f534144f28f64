"""Names of JAX for the instructions of compiled programs, read from a trace."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

# Parts of JAX's names that nearly every instruction of an epoch's program has.
_SAID_OF_ALL = ('while', 'body', 'closed_call', 'eval_jaxpr', 'shard_map')


class Instruction(NamedTuple):
    """An instruction of a compiled program."""

    opcode: str  # such as 'fusion'
    name: str  # JAX's, such as 'jvp(CNN)/Dense_0/dot_general'; its own if it has none


def read_programs(
    serialized: bytes, modules: Collection[str]
) -> Iterator[tuple[str, dict[str, Instruction]]]:
    """Reads the compiled programs in a trace.

    Args:
      serialized: The ``*.xplane.pb`` of a trace, which holds the programs as well. Its
        messages are described in ``xplane.proto`` and ``hlo.proto`` of OpenXLA. They are
        read here by the numbers of their fields, since no package brings the descriptions
        without TensorFlow.
      modules: Names of the programs to read, such as ``'jit_train_steps'``.

    Yields:
      The name of a program, and its instructions by name.
    """
    for plane in _walk(serialized, (1,)):
        if _text(plane, 2) != '/host:metadata':
            continue
        # Of each description of an event, the statistic that is a program.
        for module in _walk(plane, (4, 2, 5, 6, 1)):
            name = _text(module, 1)
            if name in modules:
                instructions = _walk(module, (3, 2))  # of all computations
                yield name, dict(map(_read_instruction, instructions))


def _read_instruction(message: memoryview) -> tuple[str, Instruction]:
    own_name, opcode = _text(message, 1), _text(message, 2)
    name = next((_text(metadata, 2) for metadata in _fields(message, 7)), '')
    parts = [part for part in name.split('/') if part not in _SAID_OF_ALL]
    parts = parts[1:] if parts and parts[0].startswith('jit(') else parts
    return own_name, Instruction(opcode, '/'.join(parts) or own_name.split('.')[0])


def _walk(message: bytes | memoryview, path: tuple[int, ...]) -> Iterator[memoryview]:
    if not path:
        yield memoryview(message)
        return
    for inner in _fields(message, path[0]):
        yield from _walk(inner, path[1:])


def _text(message: bytes | memoryview, number: int) -> str:
    return next((bytes(of).decode() for of in _fields(message, number)), '')


def _fields(message: bytes | memoryview, wanted: int) -> Iterator[memoryview]:
    """Yields those fields of a protocol buffer with a number that are of some length."""
    message, at = memoryview(message), 0

    def read_integer() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        number, kind = divmod(read_integer(), 8)
        if kind == 0:
            read_integer()
            continue
        size = {1: 8, 5: 4}.get(kind) or read_integer()
        if number == wanted and kind == 2:
            yield message[at : at + size]
        at += size
