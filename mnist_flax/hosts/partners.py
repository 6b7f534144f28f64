"""The other processes of a run, as the supervisor of one of them knows them.

The supervisor of process 0 has a link to each other one. It notes who has come and who
wants to meet, and tells the others when all do, who is waited for, and who has gone.
"""

import contextlib
import os
import selectors
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from mnist_flax.common.errors import require
from mnist_flax.hosts.links import Link

# Seconds of waiting until it is said, and until it is said again.
_FIRST_NOTE, _NEXT_NOTE = 10.0, 30.0

_CONNECT_SECONDS = 2.0

ADVICE = 'start the command on all hosts again, and it resumes from the last checkpoint'


class GoneError(Exception):
    """A process of the run has not come, or has ended; the message says which."""

    def __init__(self, message: str, orderly: bool = False):
        super().__init__(message)
        self.orderly = orderly  # whether it has said so itself


class Partners:
    """The processes of a run, and the links to them."""

    def __init__(
        self,
        address: str,
        num_processes: int,
        process_id: int,
        settings: Mapping[str, str],
        seconds: int,
    ):
        """Describes them.

        Args:
          address: ``host:port`` of process 0.
          num_processes: How many they are.
          process_id: Number of this one.
          settings: What has to be the same for all, by name.
          seconds: How long to wait for them to come.

        Raises:
          UserError: The address is none.
        """
        host, _, port = address.rpartition(':')
        require(
            bool(host) and port.isdecimal() and int(port) < 2**16,
            f'--coordinator_address: found {address!r}; allowed: host:port of process 0, '
            'such as 10.0.0.1:1234',
        )
        self._place = host.strip('[]'), int(port)
        self._num = num_processes
        self._id = process_id
        self._hello: dict[str, Any] = {
            'hello': process_id,
            'of': num_processes,
            'settings': {**settings},
        }
        self._seconds = seconds
        self._links: dict[int, Link] = {}  # of process 0 to all others, of these to it
        self._finished: set[int] = set()
        self._listening: socket.socket | None = None
        # How often each process has wanted to meet, and how often they have.
        self._wanted = dict.fromkeys(range(num_processes), 0)
        self._num_met = 0
        self._why = ''  # why process 0 cannot be reached
        self._may_go = False
        self._since = time.monotonic()
        self._next_note = _FIRST_NOTE

    @property
    def process_id(self) -> int:
        """Number of this process."""
        return self._id

    def start(self, selector: selectors.BaseSelector) -> None:
        """Starts to look for the others.

        Raises:
          GoneError: Nobody can connect to this process.
        """
        self._selector = selector
        if self._id > 0:
            return
        try:
            dual = socket.has_dualstack_ipv6()
            self._listening = socket.create_server(
                ('', self._place[1]),
                family=socket.AF_INET6 if dual else socket.AF_INET,
                dualstack_ipv6=dual,
            )
        except OSError as error:
            raise GoneError(
                f'--coordinator_address: process 0 cannot listen at port {self._place[1]} '
                f'({os.strerror(error.errno or 0)}); choose another one'
            ) from error
        selector.register(self._listening, selectors.EVENT_READ, self._accept)

    def meet(self) -> None:
        """Notes that this process wants to meet the others."""
        self._want(self._id)
        if self._id > 0 and 0 in self._links:
            self._links[0].send(meet=True)

    def wait(self) -> bool:
        """Looks after those who are waited for.

        Returns:
          Whether all have met, since the last call.

        Raises:
          GoneError: They have not come in time.
        """
        missing = self._list_missing()
        if missing and self._id > 0:
            self._connect()
        if missing:
            self._note(missing)
        elif self._id == 0 and all(n > self._num_met for n in self._wanted.values()):
            self._stop_listening()
            self._tell(go=True)
            self._go()
        met, self._may_go = self._may_go, False
        return met

    def leave(self, reason: str) -> None:
        """Tells the others why this process ends; '' if it has finished."""
        self._tell(end=reason)

    def _tell(self, **message: Any) -> None:
        for link in self._links.values():
            link.send(**message)

    def _want(self, number: int) -> None:
        if all(n == self._num_met for n in self._wanted.values()):
            self._since, self._next_note = time.monotonic(), _FIRST_NOTE
        self._wanted[number] += 1

    def _go(self) -> None:
        self._num_met += 1
        self._may_go = True

    # Waiting.

    def _list_missing(self) -> list[int]:
        """Lists who is waited for; of others than process 0 only that one is known."""
        if self._id > 0:
            return [] if self._has_come(0) else [0]
        absent = [i for i in range(1, self._num) if not self._has_come(i)]
        if absent or max(self._wanted.values()) == self._num_met:
            return absent
        return [i for i, n in self._wanted.items() if n == self._num_met]

    def _has_come(self, number: int) -> bool:
        return number in self._links or number in self._finished

    def _note(self, missing: list[int]) -> None:
        seconds = time.monotonic() - self._since
        names = ', '.join(map(str, missing))
        who = f'process {names}' if len(missing) == 1 else f'processes {names}'
        is_absent = self._id > 0 or any(i > 0 and not self._has_come(i) for i in missing)
        if is_absent and seconds > self._seconds:
            raise GoneError(
                f'{who} did not come within {self._seconds} s (--host_timeout){self._why}'
            )
        if seconds > self._next_note:
            self._next_note += _NEXT_NOTE
            limit = f' of {self._seconds} s' if is_absent else ' s'
            text = f'waiting for {who} ({seconds:.0f}{limit})'
            print(text, file=sys.stderr, flush=True)
            self._tell(waiting=text)

    # The others, for process 0.

    def _accept(self) -> None:
        assert self._listening is not None
        with contextlib.suppress(OSError):  # it has left already
            connection, _ = self._listening.accept()
            link = Link(connection)
            self._selector.register(link, selectors.EVENT_READ, lambda: self._welcome(link))

    def _welcome(self, link: Link) -> None:
        """Hears who has connected; what is no process of this run is sent away."""
        messages = link.receive()
        if messages == []:
            return
        self._selector.unregister(link)
        hello = messages[0] if messages else {}
        number = hello.get('hello')
        problem = self._find_problem(hello)
        if problem or not isinstance(number, int):
            link.send(end=problem)
            link.close()
            return
        self._links[number] = link
        self._selector.register(link, selectors.EVENT_READ, lambda: self._hear(number))
        self._obey(number, (messages or [])[1:])

    def _find_problem(self, hello: Mapping[str, Any]) -> str:
        number, settings = hello.get('hello'), hello.get('settings')
        if hello.get('of') != self._num:
            return f'--num_processes: process 0 was started with {self._num}'
        if number not in range(1, self._num) or number in self._links:
            return f'--process_id: another process has {number} already'
        if settings != self._hello['settings'] and isinstance(settings, dict):
            ours: dict[str, str] = self._hello['settings']
            names = sorted(
                name for name in {*ours, *settings} if ours.get(name) != settings.get(name)
            )
            return (
                f'{", ".join(names[:5])}: process 0 was started with '
                f'{", ".join(str(ours.get(name)) for name in names[:5])}; start the same '
                'command on each host'
            )
        return ''

    def _stop_listening(self) -> None:
        """Frees the port for JAX."""
        if self._listening is not None:
            self._selector.unregister(self._listening)
            self._listening.close()
            self._listening = None

    # Process 0, for the others.

    def _connect(self) -> None:
        try:
            connection = socket.create_connection(self._place, timeout=_CONNECT_SECONDS)
        except (OSError, UnicodeError) as error:  # it may not have started yet
            reason = getattr(error, 'strerror', None) or error
            self._why = f': {self._place[0]}:{self._place[1]}: {reason}'
            return
        link = Link(connection)
        link.send(**self._hello)
        for _ in range(self._wanted[self._id] - self._num_met):
            link.send(meet=True)
        self._links[0] = link
        self._selector.register(link, selectors.EVENT_READ, lambda: self._hear(0))

    # What they say.

    def _hear(self, number: int) -> None:
        messages = self._links[number].receive()
        if messages is not None:
            self._obey(number, messages)
            return
        self._selector.unregister(self._links.pop(number))
        if number not in self._finished:
            if self._num_met or self._id == 0:
                raise GoneError(f'process {number} has ended; {ADVICE}')
            raise GoneError(
                f'--coordinator_address: what answers at {self._place[0]}:{self._place[1]} '
                'is not process 0 of this run'
            )

    def _obey(self, number: int, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if 'meet' in message:
                self._want(number)
            if 'go' in message:
                self._go()
            if 'waiting' in message:
                print(message['waiting'], file=sys.stderr, flush=True)
            if message.get('end'):
                raise GoneError(str(message['end']), orderly=True)
            if 'end' in message:
                self._finished.add(number)
