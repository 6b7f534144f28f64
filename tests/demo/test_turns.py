"""The turns of requests, when more come than can be worked on."""

import asyncio

import pytest

from mnist_flax.demo.turns import TooManyError, Turns


def run(turns, clients, seconds=0.0):
    """Has requests of clients come one after the other; returns in which order they work.

    A request that is refused is named with a ``!``.
    """
    worked = []

    async def work(client):
        try:
            async with turns.take(client):
                worked.append(client)
                await asyncio.sleep(seconds)
        except TooManyError:
            worked.append(f'{client}!')

    async def all_at_once():
        await asyncio.gather(*map(work, clients))

    asyncio.run(all_at_once())
    return ''.join(worked)


def test_clients_take_turns():
    assert run(Turns(1, 1, 64, 60.0), 'aaaaaabcb') == 'aabcabaaa'


def test_who_sends_many_is_refused_before_others():
    # Of four places `a` has all; `b`, who comes later, has a right to half of them.
    assert run(Turns(1, 1, 4, 60.0), 'aaaaaaabbab') == 'aa!a!a!b!ababaa'


def test_who_sends_some_that_take_long_leaves_a_place_for_others():
    turns = Turns(3, 2, 64, 0.1)
    assert run(turns, 'aaabcb', seconds=0.2) == 'aaba!c!b!'
    assert run(turns, 'aaab', seconds=0.01) == 'aaba'


def test_as_many_are_at_work_as_may_be():
    turns, at_work, most = Turns(3, 3, 64, 60.0), 0, 0

    async def work():
        nonlocal at_work, most
        async with turns.take('a'):
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0.001)
            at_work -= 1

    async def many():
        await asyncio.gather(*(work() for _ in range(20)))

    asyncio.run(many())
    assert (most, turns._num_free) == (3, 3)


def test_who_has_waited_too_long_is_refused_and_leaves_no_trace():
    turns = Turns(1, 1, 64, 0.05)
    assert run(turns, 'abc', seconds=0.2) == 'ab!c!'
    assert not turns._lines
    assert run(turns, 'd') == 'd'


@pytest.mark.parametrize('moment', [0, 1])
def test_a_request_that_is_given_up_passes_its_turn_on(moment):
    turns = Turns(1, 1, 64, 60.0)

    async def wait():
        async with turns.take('a'):
            pass

    async def give_up():
        async with turns.take('a'):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            if moment == 0:
                waiting.cancel()
        if moment == 1:  # it has just got its turn
            waiting.cancel()
        await asyncio.wait([waiting])

    asyncio.run(give_up())
    assert (turns._num_free, len(turns._lines)) == (1, 0)
    assert run(turns, 'ab') == 'ab'
