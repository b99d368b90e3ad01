"""Progress of transfers: bars on a terminal, and a summary in one line."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TypeVar

import typer

from containerfs.cli import wording
from containerfs.cli.failure import complain
from containerfs.mount.statuses import FAILED, status_of

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from containerfs.fs.types import FsError
    from containerfs.transfer.crew import Crew

_BARS = 8  # of files, shown at a time


class Named(Protocol):
    """Something to transfer."""

    @property
    def name(self) -> str:
        """The name to show."""


S = TypeVar("S", bound=Named)


class Board:
    """Shows the progress of transfers. Thread-safe.

    Args:
        command: the command that transfers.
        verb: what is done with files, in the past tense.
        check: raises an error to end a transfer.
    """

    def __init__(self, command: str, verb: str, check: Callable[[], None], progress: "Progress | None") -> None:
        self.status = 0
        self._command = command
        self._verb = verb
        self._check = check
        self._progress = progress
        self._lock = threading.Lock()  # guards the counts
        self._files = self._bytes = 0
        self._begun = time.monotonic()
        self._total: TaskID | None = None

    def each(self, crew: "Crew", steps: "Sequence[S]", work: "Callable[[S], object]") -> None:
        """Do ``work`` with each step. Failures are reported, and not counted."""
        if self._progress is not None and len(steps) > 1:
            self._total = self._progress.add_task("all files", total=len(steps), unit="files")
        crew.each(steps, work, lambda step, error: self.failed(step.name, error))

    @contextmanager
    def file(self, name: str, size: int | None) -> Iterator["FileMeter"]:
        """Watch the transfer of one file, which is counted if nothing is raised."""
        with self._lock:
            meter = FileMeter(self._check, self._progress, name, size)
        try:
            yield meter
            with self._lock:
                self._files += 1
                self._bytes += meter.done
        finally:
            meter.close()
            if self._progress is not None and self._total is not None:
                self._progress.advance(self._total)

    def failed(self, name: str, error: "FsError") -> None:
        """Report that a file could not be transferred."""
        status = status_of(error)
        with self._lock:
            self.status = status if self.status in (0, status) else FAILED
            complain(self._command, f"{name}: {error}")

    def summary(self) -> str:
        """Return the result in one line."""
        seconds = time.monotonic() - self._begun
        return f"{self._verb} {wording.counted(self._files, 'file')}, {wording.size(self._bytes)} in {seconds:.1f} s"


class FileMeter:
    """Watches one file, with its own bar if there is a terminal."""

    def __init__(self, check: Callable[[], None], progress: "Progress | None", name: str, size: int | None) -> None:
        self.done = 0
        self._check = check
        self._progress = progress
        self._task: TaskID | None = None
        if progress is not None and sum(not task.finished for task in progress.tasks) <= _BARS:
            self._task = progress.add_task(_short(name), total=size, unit="bytes")

    def at(self, done: int, size: int | None) -> None:
        """Called when so many bytes have been transferred. May raise to end the transfer."""
        self._check()
        self.done = done
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=size)

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)


@contextmanager
def board(command: str, verb: str, check: Callable[[], None], *, quiet: bool) -> Iterator[Board]:
    """Give a board for the transfers of a command, which ends with their status.

    On a terminal it shows bars, and the result at the end. Otherwise it only reports failures, as git does.
    """
    is_shown = sys.stderr.isatty() and not quiet
    with bars() if is_shown else nullcontext() as progress:
        shown = Board(command, verb, check, progress)
        try:
            yield shown
        except KeyboardInterrupt:
            complain(command, f"interrupted; {shown.summary()}")
            raise
    if is_shown:
        typer.echo(shown.summary(), err=True)
    if shown.status:
        raise typer.Exit(shown.status)


def bars() -> "Progress":
    """Return progress bars on standard error, which disappear when done."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _short(name: str) -> str:
    """Return the end of a name, which distinguishes it best."""
    name = name if name.isprintable() else repr(name)
    return name if len(name) <= 40 else "…" + name[-39:]
