"""Logging of long-running commands: to a rotated file, the terminal, the journal or syslog.

A line that is repeated within a minute is counted rather than written again: a service that is down, for example, fails
every operation with the same message.
"""

import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from logging.handlers import RotatingFileHandler, SysLogHandler
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_UNTIMED = "%(levelname)s %(name)s: %(message)s"
_MOST_BYTES, _BACKUPS = 10 << 20, 3
_MINUTE = 60.0
_REMEMBERED = 1000  # different lines
_SYSLOG = Path("/dev/log")
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

Key = tuple[str, int, str]


class Counted(logging.Handler):
    """Passes each line on once a minute, with a count of its repetitions. Thread-safe."""

    def __init__(self, targets: list[logging.Handler]) -> None:
        super().__init__()
        self._targets = targets
        self._seen: OrderedDict[Key, tuple[float, int]] = OrderedDict()  # when it was written, how often it came since

    def emit(self, record: logging.LogRecord) -> None:
        key = (record.name, record.levelno, record.getMessage())
        now = time.monotonic()
        written, repeated = self._seen.get(key, (-_MINUTE, 0))
        if now - written < _MINUTE:
            self._seen[key] = (written, repeated + 1)
            return
        self._seen[key] = (now, 0)
        self._seen.move_to_end(key)
        while len(self._seen) > _REMEMBERED:
            self._told(*self._seen.popitem(last=False))
        self._told(key, (written, repeated))
        self._pass_on(record)

    def close(self) -> None:
        """Log the counts of lines that were not repeated."""
        with self.lock or threading.RLock():
            seen, self._seen = self._seen, OrderedDict()
            for key, counted in seen.items():
                self._told(key, counted)
        super().close()

    def _told(self, key: Key, counted: tuple[float, int]) -> None:
        (name, level, text), (_, repeated) = key, counted
        if repeated:
            text = f"{text} ({repeated} times more)"
            self._pass_on(
                logging.makeLogRecord(
                    {"name": name, "levelno": level, "levelname": logging.getLevelName(level), "msg": text}
                )
            )

    def _pass_on(self, record: logging.LogRecord) -> None:
        for target in self._targets:
            target.handle(record)


class LogFile(RotatingFileHandler):
    """A log file that several mounts may write and rotate. Standard output and error go there too."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "a", _MOST_BYTES, _BACKUPS, encoding="utf-8", errors="surrogateescape")

    def emit(self, record: logging.LogRecord) -> None:
        if self._moved():
            self.close()
            self.stream = self._open()
            self._redirect()
        super().emit(record)

    def doRollover(self) -> None:
        super().doRollover()
        self._redirect()

    def _moved(self) -> bool:
        """Tell whether another process has rotated it."""
        try:
            return not os.path.samestat(os.stat(self.baseFilename), os.fstat(self._descriptor))
        except OSError:
            return True

    @property
    def _descriptor(self) -> int:
        return -1 if self.stream is None else self.stream.fileno()

    def _redirect(self) -> None:
        for descriptor in (1, 2):
            os.dup2(self._descriptor, descriptor)


class _Journal(logging.Formatter):
    """Formats lines for the journal, which adds the time. Source: sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, 5)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def begin(level: str, *, file: Path | None = None, syslog: bool = False) -> None:
    """Start logging, until the process ends.

    Args:
        level: the lowest level to write, for example ``info``.
        file: the log file; None for standard error.
        syslog: whether to write to syslog as well.
    """
    targets = [_main(file)]
    if syslog and _SYSLOG.exists():
        targets.append(SysLogHandler(str(_SYSLOG), SysLogHandler.LOG_DAEMON))
        targets[-1].setFormatter(logging.Formatter(f"containerfs[%(process)d]: {_UNTIMED}"))
    root = logging.getLogger()
    root.addHandler(Counted(targets))
    root.setLevel(logging.WARNING)
    logging.getLogger("containerfs").setLevel(level.upper())


def _main(file: Path | None) -> logging.Handler:
    if file is not None:
        handler: logging.Handler = LogFile(file)
        handler.setFormatter(logging.Formatter(_FORMAT))
        return handler
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Journal(_UNTIMED) if _is_journal() else logging.Formatter(_FORMAT))
    return handler


def _is_journal() -> bool:
    """Tell whether standard error goes to the journal. Source: systemd.exec(5), JOURNAL_STREAM."""
    with suppress(OSError):
        found = os.fstat(2)
        return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return False
