"""Who closes a file: its opener, or one that inherited it. And which signals end a program."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from containerfs.fs.process import is_asked_to_end, is_other_live_process


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


CATCHING = """
import signal, sys
for number in map(int, sys.argv[1:]):
    signal.signal(number, lambda *_: None)
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.parametrize(
    ("number", "caught", "ends"),
    [
        (signal.SIGINT, False, True),
        (signal.SIGINT, True, True),
        (signal.SIGTERM, True, True),
        (signal.SIGHUP, True, True),
        (signal.SIGUSR1, False, True),
        (signal.SIGUSR1, True, False),
        (signal.SIGALRM, False, True),
        (signal.SIGALRM, True, False),
        (signal.SIGRTMIN, True, False),
        (signal.SIGPIPE, False, False),  # Python ignores it
        (signal.SIGCHLD, True, False),
        (signal.SIGWINCH, True, False),
        (signal.SIGURG, True, False),
        (signal.SIGTSTP, False, False),
        (signal.SIGTSTP, True, False),
    ],
)
def test_which_signals_end_a_program(number: signal.Signals, *, caught: bool, ends: bool) -> None:
    command = [sys.executable, "-c", CATCHING, *([str(int(number))] if caught else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGSTOP)  # so that later signals stay pending
            os.waitpid(process.pid, os.WUNTRACED)
            assert not is_asked_to_end(process.pid)
            process.send_signal(number)
            assert is_asked_to_end(process.pid) is ends
        finally:
            process.kill()


def test_of_a_program_that_nobody_knows_it_is_assumed() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert is_asked_to_end(ended.pid)
