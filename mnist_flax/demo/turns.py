"""Few requests at work at a time, and the clients by turns."""

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator


class TooManyError(Exception):
    """A request is not taken: too many wait, or it has waited too long."""


class Turns:
    """Gives requests their turns, so that a client who sends many keeps no others out."""

    def __init__(self, at_once: int, each: int, most_waiting: int, seconds: float):
        """Makes turns that are all free.

        Args:
          at_once: How many requests may be at work.
          each: How many of these may be of one client.
          most_waiting: How many of one client may wait; if several clients wait, each may
            have an even share of this number.
          seconds: How long a request may wait.
        """
        self._num_free = at_once
        self._each = each
        self._most_waiting = most_waiting
        self._seconds = seconds
        self._at_work: Counter[str] = Counter()  # by client
        # By client, in the order in which they are served.
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def take(self, client: str) -> AsyncIterator[None]:
        """Waits for a turn of a client, such as ``'127.0.0.1'``, and has it while entered.

        Raises:
          TooManyError: Its share of the places is taken, or it has waited too long.
        """
        if self._num_free and self._at_work[client] < self._each:
            self._begin(client)
        else:
            await self._wait(client)
        try:
            yield
        finally:
            self._end(client)

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
            if turn in line:
                line.remove(turn)
                if not line:
                    del self._lines[client]
            elif not turn.cancelled():  # it came at the same moment
                self._end(client)
            if isinstance(error, TimeoutError):
                raise TooManyError from error
            raise

    def _begin(self, client: str) -> None:
        self._num_free -= 1
        self._at_work[client] += 1

    def _end(self, client: str) -> None:
        """Ends a turn, and gives it to the next client that may have it."""
        self._num_free += 1
        self._at_work[client] -= 1
        if not self._at_work[client]:
            del self._at_work[client]
        for following, line in [*self._lines.items()]:
            if not self._num_free:
                break
            while line and line[0].cancelled():
                line.popleft()
            if line and self._at_work[following] < self._each:
                self._begin(following)
                line.popleft().set_result(None)
                self._lines.move_to_end(following)
            if not line:
                del self._lines[following]
