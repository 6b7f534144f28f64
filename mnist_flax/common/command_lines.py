"""The words of a command line, in the order and form that absl and ml_collections need."""

import itertools
import re
from collections.abc import Sequence

from absl import flags

from mnist_flax.common import configs

# A word that is no flag: it may be a negative number.
_VALUE = re.compile(r'[^-]|-[\d.]|-?$')


def arrange(arguments: Sequence[str]) -> list[str]:
    """Puts the config and its fields first, and of a field given twice the last value.

    ml_collections wants the config before its fields, and would add up tuples that are
    given twice. Config files that come with the project are found from any folder.

    Args:
      arguments: The program, and what follows it.
    """
    program, *words = arguments
    files: list[str] = []
    fields: dict[str, str] = {}
    others: list[str] = []
    while words:
        word = words.pop(0)
        name, equals, value = word.lstrip('-').partition('=')
        if word == '--':  # what follows are no flags
            others += [word, *words]
            break
        if not word.startswith('-') or name.partition('.')[0] not in ('config', 'noconfig'):
            others.append(word)
            continue
        if name.startswith('noconfig.') and not equals:
            name, equals, value = name.removeprefix('no'), '=', 'false'
        elif not equals and words and _VALUE.match(words[0]):
            equals, value = '=', words.pop(0)
        if name == 'config':
            files.append(f'--config{equals}{configs.find(value) if equals else ""}')
        else:
            fields[name] = f'--{name}{equals}{value}'
    return [program, *files, *fields.values(), *others]


def check_values(arguments: Sequence[str]) -> None:
    """Checks that no flag takes the next one for its value.

    Args:
      arguments: As they were given.

    Raises:
      flags.Error: One does.
    """
    for word, following in itertools.pairwise(arguments[1:]):
        if word == '--':
            return
        name = word.lstrip('-')
        is_flag = word.startswith('-') and name in flags.FLAGS
        if is_flag and not flags.FLAGS[name].boolean and following.startswith('--'):
            raise flags.Error(f'--{name}: its value is missing; {following!r} follows')
