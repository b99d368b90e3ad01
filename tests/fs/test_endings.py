"""When containers end, by what is known here: who is warned, and what is used so that it lives."""

import logging
import time
from typing import cast

import pytest

from containerfs.fs.endings import Endings
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.types import RemoteContainer
from containerfs.fs.writing.momentary import MomentaryFiles
from tests.fs.memory import MemoryRemote

NOW = 1_800_000_000.0
DAY, MINUTE = 86400, 60


class World:
    """A container of a service, and what is known of it."""

    def __init__(self, *, expires_in: int | None, idle_limit: int | None = None, age: int = 0, **options: bool) -> None:
        self.remote, self.used = MemoryRemote(), 0.0
        self.momentary: list[tuple[str, str]] = []
        self.id = self.remote.made("box")
        expires_at = None if expires_in is None else int(NOW) + expires_in
        container = RemoteContainer(self.id, "box", int(NOW) - age, expires_at, idle_limit)
        tree = Tree()
        self.node = tree.add_container(container)
        self.node.listed_at = 1.0
        self.endings = Endings(
            self.remote,
            tree,
            cast(MomentaryFiles, self),
            lambda container_id: self.used,
            ["box"] if options.get("keep") else [],
            read_only=options.get("read_only", False),
        )

    def store(self, container_id: str, path: str) -> None:
        """A file for a moment."""
        self.momentary.append((container_id, path))

    def soon(self, after: float) -> list[str]:
        return [ending.name for ending in self.endings.soon(NOW + after)]


def test_a_tenth_of_a_life_before_its_end_and_an_hour_at_most() -> None:
    short = World(expires_in=20 * MINUTE)
    assert [short.soon(minutes * MINUTE) for minutes in (17, 18.5, 20)] == [[], ["box"], []]
    week = World(expires_in=7 * DAY)
    assert [week.soon(7 * DAY - minutes * MINUTE) for minutes in (61, 59)] == [[], ["box"]]


def test_what_was_used_meanwhile_ends_later() -> None:
    world = World(expires_in=20 * MINUTE, idle_limit=20 * MINUTE, age=DAY)
    assert [world.soon(minutes * MINUTE) for minutes in (14, 16)] == [[], ["box"]]
    world.used = NOW + 10 * MINUTE
    assert [world.soon(minutes * MINUTE) for minutes in (16, 26)] == [[], ["box"]]


def test_nobody_is_warned_of_what_was_not_looked_into_or_does_not_end() -> None:
    assert World(expires_in=None).soon(1000 * DAY) == []
    world = World(expires_in=MINUTE)
    world.node.listed_at = 0.0
    assert world.soon(59) == []


def test_a_warning_comes_once_for_each_end(caplog: pytest.LogCaptureFixture) -> None:
    world = World(expires_in=20 * MINUTE, idle_limit=20 * MINUTE)
    with caplog.at_level(logging.WARNING):
        for second in range(16 * MINUTE, 19 * MINUTE, 30):
            world.endings.look(NOW + second)
        world.used = NOW + 19 * MINUTE
        world.endings.look(NOW + 20 * MINUTE)
        world.endings.look(NOW + 35 * MINUTE)
    when = [time.strftime("%H:%M", time.localtime(NOW + minutes * MINUTE)) for minutes in (20, 39)]
    assert caplog.messages == [
        f"The container 'box' ends at {each}, unless it is used before; 'containerfs get -r' saves what is in it"
        for each in when
    ]
    assert world.remote.requests == []


def test_what_is_to_live_is_read_from_before_half_of_its_time_is_over() -> None:
    world = World(expires_in=20 * MINUTE, idle_limit=20 * MINUTE, keep=True)
    world.remote.put(world.id, "large", bytes(100))
    small = world.remote.put(world.id, "small", b"12")
    world.endings.look(NOW + 9 * MINUTE)
    assert world.remote.requests == []
    world.endings.look(NOW + 11 * MINUTE)
    assert world.remote.asked("content") == [f"{small}@1"]
    world.used = NOW + 11 * MINUTE
    world.endings.look(NOW + 20 * MINUTE)
    assert world.remote.asked("content") == [f"{small}@1"]


@pytest.mark.parametrize("read_only", [False, True])
def test_an_empty_container_that_is_to_live_gets_a_file_for_a_moment(read_only: bool) -> None:
    world = World(expires_in=MINUTE, idle_limit=20 * MINUTE, keep=True, read_only=read_only)
    world.endings.look(NOW)
    assert world.momentary == ([] if read_only else [(world.id, ".containerfs-keep-alive")])


def test_what_has_a_fixed_end_is_not_used_in_vain() -> None:
    world = World(expires_in=MINUTE, keep=True)
    world.endings.look(NOW)
    assert world.remote.requests == []


def test_a_container_of_which_no_end_is_known_is_used_now_and_then() -> None:
    world = World(expires_in=None, keep=True)
    file = world.remote.put(world.id, "file", b"1")
    world.endings.look(NOW)
    world.used = NOW
    world.endings.look(NOW + 4 * MINUTE)
    assert world.remote.asked("content") == [f"{file}@0"]


def test_a_service_that_does_not_answer_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    world = World(expires_in=MINUTE, idle_limit=20 * MINUTE, keep=True)
    world.remote.expire(world.id)
    with caplog.at_level(logging.WARNING):
        world.endings.look(NOW)
    assert "The container 'box' could not be kept alive: " in caplog.text
