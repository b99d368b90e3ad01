"""The clock of a history: time passes where the model says so, and jobs of a mount run one by one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from containerfs.fs.writing.schedule import Job, Schedule
from tests.fs.paths import Paths
from tests.model.line import Faults

LATER = 1e6  # seconds; time passes where the model says so


def run_one_by_one(faults: Faults) -> None:
    """Let jobs wait for each other, but for those that are held: so a history is the same each time."""

    def has_room(schedule: Schedule, job: Job) -> bool:
        return len(schedule._running) <= faults.held

    setattr(Schedule, "_has_room", has_room)  # noqa: B010, put back by the patch in ``no_clock``


def schedule_of(filesystem: Paths) -> Schedule:
    return filesystem._backlog._schedule


def busy(filesystem: Paths) -> int:
    """How many jobs run, or are about to."""
    schedule = schedule_of(filesystem)
    with schedule._changed:
        due = [job for job in schedule._waiting.values() if job.due <= time.monotonic()]
        return len(schedule._running) + len(due)


def waiting(filesystem: Paths) -> int:
    schedule = schedule_of(filesystem)
    with schedule._changed:
        return len(schedule._waiting)


@contextmanager
def no_clock() -> Iterator[None]:
    """What happens after a while happens when the model lets time pass."""
    writing = "containerfs.fs.writing"
    with (
        mock.patch.object(Schedule, "_has_room", Schedule._has_room),
        mock.patch(f"{writing}.schedule._STALLED", 0.004),
        mock.patch(f"{writing}.backoff.FIRST_PAUSE", LATER),
        mock.patch(f"{writing}.backoff.LONGEST_PAUSE", LATER),
        mock.patch(f"{writing}.settlement._LOOKS", (0.0, LATER, LATER, LATER)),
        mock.patch(f"{writing}.settlement._EARLY", 0.0),  # the time until a look has passed whenever one is made
        mock.patch(f"{writing}.commits._TEMPORARY_DELAY", LATER),
        mock.patch(f"{writing}.streaming._FROM", 4),  # bytes: nearly every file is
        mock.patch("os.sync"),  # power cuts are not modelled
    ):
        yield
