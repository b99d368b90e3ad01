"""The process that stays in the background: what it holds, what it says, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import json, os, sys, threading
from pathlib import Path
from containerfs.cli import daemon

def stay(say):
    {stay}

print("before the fork")
try:
    print(json.dumps(daemon.start(Path(sys.argv[1]), stay)))
except daemon.Ended as error:
    print(json.dumps(error.status))
"""


def run(log: Path, stay: str, *, given: tuple[int, ...] = ()) -> object:
    """What a command says that has a process do something, once that is so."""
    command = [sys.executable, "-c", _PROGRAM.format(stay=stay), log]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, pass_fds=given)
    said, answer = done.stdout.splitlines()
    assert (said, done.stderr) == ("before the fork", "")
    return json.loads(answer)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_it_holds_nothing_of_what_the_command_was_given(log: Path) -> None:
    reading, writing = os.pipe()
    stay = "say({fd.name: os.readlink(fd) for fd in list(Path('/proc/self/fd').iterdir()) if fd.exists()}); return 0"
    held = run(log, stay, given=(writing,))
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)
    assert isinstance(held, dict)
    assert (held["0"], held["1"], held["2"]) == ("/dev/null", str(log), str(log))
    assert len(held) == 4  # and the pipe for its word


def test_it_has_a_session_of_its_own_and_outlives_the_command(log: Path) -> None:
    stay = "say({'pid': str(os.getpid()), 'session': str(os.getsid(0))}); threading.Event().wait(60); return 0"
    told = run(log, stay)
    assert isinstance(told, dict)
    assert told["pid"] == told["session"]
    os.kill(int(told["pid"]), 9)


@pytest.mark.parametrize(
    ("stay", "status"),
    [("return 3", 3), ("os._exit(4)", 4), ("os.kill(os.getpid(), 9)", -9), ("raise KeyError(0)", 1)],
)
def test_one_that_ends_without_a_word_is_told_of(log: Path, stay: str, status: int) -> None:
    assert run(log, stay) == status


def test_what_it_prints_is_in_the_log(log: Path) -> None:
    run(log, "print('out'); print('err', file=sys.stderr); raise KeyError('why')")
    text = log.read_text()
    assert "out\n" in text
    assert "err\n" in text
    assert "KeyError: 'why'" in text
    assert "before the fork" not in text


def test_threads_that_hang_do_not_keep_it(log: Path) -> None:
    assert run(log, "threading.Thread(target=threading.Event().wait).start(); return 5") == 5


def test_nothing_is_forked_once_threads_have_started(log: Path) -> None:
    program = (
        "import threading, sys, pathlib; from containerfs.cli import daemon;"
        "threading.Thread(target=threading.Event().wait, daemon=True).start();"
        "daemon.start(pathlib.Path(sys.argv[1]), lambda say: 0)"
    )
    done = subprocess.run([sys.executable, "-c", program, log], capture_output=True, text=True, timeout=60)
    assert "AssertionError" in done.stderr
