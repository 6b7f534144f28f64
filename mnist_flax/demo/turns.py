"""Few requests at work at a time, and the clients by turns."""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator


class TooManyError(Exception):
    """A request is not taken: too many wait, or it has waited too long."""


class Turns:
    """Gives requests their turns; a client who sends many waits for its own, not others."""

    def __init__(self, at_once: int, most_waiting: int, seconds: float):
        """Makes turns that are all free.

        Args:
          at_once: How many requests may be at work.
          most_waiting: How many may wait; clients that wait share these places evenly.
          seconds: How long a request may wait.
        """
        self._num_free = at_once
        self._most_waiting = most_waiting
        self._seconds = seconds
        # By client, in the order in which they are served.
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def take(self, client: str) -> AsyncIterator[None]:
        """Waits for a turn of a client, such as ``'127.0.0.1'``, and has it while entered.

        Raises:
          TooManyError: Its share of the places is taken, or it has waited too long.
        """
        if self._num_free:
            self._num_free -= 1
        else:
            await self._wait(client)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, client: str) -> None:
        line = self._lines.get(client, deque())
        num_clients = len(self._lines) + (client not in self._lines)
        if len(line) >= self._most_waiting // num_clients:
            raise TooManyError
        self._lines[client] = line
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except BaseException as error:
            if not turn.cancelled():  # the turn came at the same moment
                self._pass_on()
            elif turn in line:
                line.remove(turn)
                if not line:
                    del self._lines[client]
            if isinstance(error, TimeoutError):
                raise TooManyError from error
            raise

    def _pass_on(self) -> None:
        """Gives a turn to the next client, or frees it."""
        while self._lines:
            client, line = self._lines.popitem(last=False)
            turn = line.popleft()
            if line:
                self._lines[client] = line
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._num_free += 1
