"""What a process that stays logs: lines that come again are counted, and files are rotated."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.mount import logs
from containerfs.mount.logs import Counted, LogFile


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def log(lines: Lines) -> Iterator[logging.Logger]:
    logger = logging.getLogger("test of logs")
    logger.propagate = False
    handler = Counted([lines])
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_a_line_that_comes_again_is_counted(log: logging.Logger, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("containerfs.mount.logs.time.monotonic", lambda: now)
    for _ in range(129):
        log.error("the service is %s", "away")
    log.error("another")
    log.warning("the service is away")
    assert lines.lines == ["ERROR the service is away", "ERROR another", "WARNING the service is away"]
    now += 61
    log.error("the service is away")
    assert lines.lines[3:] == ["ERROR the service is away (128 times more)", "ERROR the service is away"]


def test_what_was_counted_is_told_at_the_end_and_when_it_is_forgotten(
    log: logging.Logger, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_REMEMBERED", 2)
    for text in ("first", "first", "second", "third", "third", "third"):
        log.error(text)
    assert lines.lines == ["ERROR first", "ERROR second", "ERROR first (1 times more)", "ERROR third"]
    log.handlers[0].close()
    assert lines.lines[4:] == ["ERROR third (2 times more)"]


PROGRAM = """
import logging, os, sys
from pathlib import Path
from containerfs.mount import logs
logs._MOST_BYTES = 2000
logs.begin("info", file=Path(sys.argv[1]))
log = logging.getLogger("containerfs.test")
for number in range(400):
    log.info("line %d", number)
os.write(2, b"fuse: last words\\n")
"""


def test_a_file_is_rotated_and_standard_error_goes_along(tmp_path: Path) -> None:
    path = tmp_path / "mount.log"
    subprocess.run([sys.executable, "-c", PROGRAM, path], check=True, timeout=60)
    kept = sorted(each.name for each in tmp_path.iterdir())
    assert kept == ["mount.log", "mount.log.1", "mount.log.2", "mount.log.3"]
    assert path.read_text().endswith("line 399\nfuse: last words\n")


def test_a_file_that_another_process_has_rotated_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogFile, "_redirect", lambda self: None)
    handler = LogFile(tmp_path / "log")
    logger = logging.getLogger("test of rotation")
    logger.addHandler(handler)
    logger.error("one")
    os.rename(tmp_path / "log", tmp_path / "log.1")
    logger.error("two")
    handler.close()
    logger.removeHandler(handler)
    assert (tmp_path / "log.1").read_text() == "one\n"
    assert (tmp_path / "log").read_text() == "two\n"
