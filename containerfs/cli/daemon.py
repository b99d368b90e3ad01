"""A background process, and the command that waits for its first message: that it is ready, or why it is not.

It is forked, so that nothing is imported twice. That is safe only before any thread has started: a fork copies locks
that other threads hold, but not the threads that would release them.
"""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

Word = dict[str, str]

_PRIVATE = 0o077


class Ended(Exception):
    """The process ended without a message.

    Attributes:
        status: its exit status; negative for the signal that has killed it.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"ended with status {status}")
        self.status = status


def start(log: Path, stay: Callable[[Callable[[Word], None]], int]) -> Word:
    """Do something in a process of its own; returns its first message.

    Args:
        log: where its standard output and error are appended to.
        stay: what it does; given the way to say its word, once. Returns its exit status.

    Raises:
        OSError: the log cannot be opened, or no process started.
        Ended: it ended before it said anything.
    """
    assert threading.active_count() == 1
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if not process:
        _stay(output, writing, stay)
    os.close(output)
    os.close(writing)
    with open(reading, encoding="utf-8") as word:
        said = word.readline()
    if not said:
        raise Ended(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    answer: Word = json.loads(said)
    return answer


def keep_private() -> None:
    """Make new files of this process and its children private to its user. Source: umask(2)."""
    os.umask(os.umask(_PRIVATE) | _PRIVATE)


def leave(status: int) -> NoReturn:
    """End the process, including threads that wait for a hanging service."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _stay(output: int, writing: int, stay: Callable[[Callable[[Word], None]], int]) -> NoReturn:
    """Never returns to what the command was doing."""

    def say(word: Word) -> None:
        os.write(writing, json.dumps(word).encode() + b"\n")
        os.close(writing)

    status = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        _close_all_but(writing)
        status = stay(say)
    except BaseException:
        traceback.print_exc()
    finally:
        leave(status)


def _close_all_but(kept: int) -> None:
    """Close what the command inherited: a reader of a pipe would otherwise wait for the mount to end."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != kept:
            with suppress(OSError):  # the listing's own
                os.close(int(name))
