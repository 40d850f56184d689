"""Who runs when: a few calls of each principal, the others wait without a thread, and looking always works."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

import anyio
import pytest

from ketools.core.errors import LimitReached
from ketools.servers.lanes import SHARED, Lane

pytestmark = pytest.mark.anyio


async def at_once() -> None:
    """What to await first when there is no place: nothing."""


class Held:
    """Work that runs until it is let go."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.let_go = threading.Event()

    def by(self, name: str) -> Callable[[], None]:
        def work() -> None:
            self.running.append(name)
            self.let_go.wait()

        return work


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not true():
            await anyio.sleep(0)


async def test_forty_two_calls_of_one_principal_hold_four_threads_and_keep_nobody_else_waiting() -> None:
    lane, held = Lane(max_running=4, max_waiting=100), Held()
    async with anyio.create_task_group() as group:
        for _ in range(42):
            group.start_soon(lane.run, "mallory", held.by("mallory"), at_once)
        await until(lambda: len(held.running) == SHARED)
        assert lane.threads.borrowed_tokens == SHARED
        assert await lane.run("alice", lambda: "answered", at_once) == "answered"
        assert held.running == ["mallory"] * SHARED
        held.let_go.set()
    assert held.running == ["mallory"] * 42
    assert lane.threads.borrowed_tokens == 0


async def test_a_free_place_goes_to_whoever_has_the_fewest_calls_running() -> None:
    lane, order = Lane(max_running=1, max_waiting=100), list[str]()
    gate = anyio.Event()

    async def call(name: str) -> None:
        async with lane.place(name, at_once):
            await gate.wait()
            order.append(name)
            await anyio.sleep(0)

    async with anyio.create_task_group() as group:
        for name in ["a"] * 5 + ["b"] * 2:
            group.start_soon(call, name)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert sorted(order[:2]) == ["a", "b"] and sorted(order[2:4]) == ["a", "b"]


async def test_more_calls_than_may_wait_are_refused_and_told_what_to_wait_for() -> None:
    lane, held = Lane(max_running=1, max_waiting=2), Held()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(lane.run, "mallory", held.by("mallory"), at_once)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LimitReached, match=r"1 calls of mallory run and 2 wait.*wait until one"):
            await lane.run("mallory", lambda: None, at_once)
        held.let_go.set()


@pytest.mark.parametrize("leaving", [0, 1, 2, 3])
async def test_a_call_that_is_cancelled_while_it_waits_leaves_its_place_to_the_next(leaving: int) -> None:
    lane, done = Lane(max_running=1, max_waiting=100), list[int]()
    gate = anyio.Event()
    scopes = [anyio.CancelScope() for _ in range(4)]

    async def call(number: int) -> None:
        with scopes[number]:
            async with lane.place("mallory", at_once):
                await gate.wait()
                done.append(number)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(call, number)
        await anyio.wait_all_tasks_blocked()
        scopes[leaving].cancel()
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert done == [number for number in range(4) if number != leaving]


async def test_a_caller_that_has_to_wait_is_told_so_first() -> None:
    lane, told, gate = Lane(max_running=1, max_waiting=1), list[str](), anyio.Event()

    async def tell() -> None:
        told.append("waiting")

    async def call(waiting: Callable[[], Awaitable[None]]) -> None:
        async with lane.place("a", waiting):
            await gate.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(call, at_once)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(call, tell)
        await anyio.wait_all_tasks_blocked()
        assert told == ["waiting"]
        gate.set()
