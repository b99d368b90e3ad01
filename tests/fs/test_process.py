"""Who closes a file: its opener, or one that inherited it."""

import os
import subprocess
import threading
from collections.abc import Iterator

import pytest

from containerfs.fs.process import is_other_live_process


@pytest.fixture
def other() -> Iterator[int]:
    """The id of another process that runs."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process.pid


def test_a_process_is_not_another_than_itself(other: int) -> None:
    assert not is_other_live_process(other, other)


def test_two_processes_are_two(other: int) -> None:
    assert is_other_live_process(opener=other, closer=os.getpid())


def test_threads_of_one_process_are_one() -> None:
    ids: list[int] = []
    ready, over = threading.Event(), threading.Event()

    def live() -> None:
        ids.append(threading.get_native_id())
        ready.set()
        over.wait()

    thread = threading.Thread(target=live)
    thread.start()
    assert ready.wait(30)
    assert not is_other_live_process(opener=ids[0], closer=os.getpid())
    over.set()
    thread.join()


def test_an_opener_that_has_ended_closes_nothing_any_more() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert not is_other_live_process(opener=ended.pid, closer=os.getpid())


@pytest.mark.parametrize(("opener", "closer"), [(0, 1), (1, 0), (0, 0)])
def test_who_is_unknown_is_the_opener(opener: int, closer: int) -> None:
    assert not is_other_live_process(opener, closer)
