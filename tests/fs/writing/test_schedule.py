"""The schedule: what is due runs, whatever hangs."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from containerfs.fs import types
from containerfs.fs.writing import schedule
from containerfs.fs.writing.schedule import Job, Manner, Schedule


def test_what_is_expedited_while_every_slot_hangs_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_SLOTS", 1)
    monkeypatch.setattr(schedule, "_STALLED", 0.2)
    jobs, hanging, goes_on, ran = Schedule(), threading.Event(), threading.Event(), threading.Event()

    def hang(_: Job) -> None:
        hanging.set()
        goes_on.wait(30)

    def refused(error: types.FsError) -> None:
        raise error

    try:
        jobs.submit("later", 3600.0, lambda _: ran.set(), refused)
        jobs.submit("hangs", 0.0, hang, refused)
        assert hanging.wait(30)
        jobs.expedite(lambda key: key == "later")
        assert ran.wait(10)
    finally:
        goes_on.set()
        jobs.close()


def test_a_brief_job_waits_for_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_SLOTS", 1)
    monkeypatch.setattr(schedule, "_STALLED", 3600.0)
    jobs, goes_on, ran = Schedule(), threading.Event(), threading.Event()

    def hang(_: Job) -> None:
        goes_on.wait(30)

    def refused(error: types.FsError) -> None:
        raise error

    try:
        jobs.submit("uploads", 0.0, hang, refused)
        jobs.submit("waits", 0.0, lambda _: None, refused)
        jobs.submit("brief", 0.01, lambda _: ran.set(), refused, Manner.BRIEF)
        assert ran.wait(10)
    finally:
        goes_on.set()
        jobs.close()


def test_who_cannot_be_refused_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is refused may fail itself, on a disk that is full, say."""
    jobs, told, ran = Schedule(), threading.Event(), threading.Event()
    submit = jobs._pool.submit

    def without_threads(work: Callable[[Job], None], job: Job) -> "Future[None]":
        if job.key == "refused":
            raise RuntimeError("can't start new thread")
        return submit(work, job)

    def refused(error: types.FsError) -> None:
        told.set()
        raise types.NoSpace(str(error))

    monkeypatch.setattr(jobs._pool, "submit", without_threads)
    try:
        jobs.submit("refused", 0.01, lambda _: None, refused)
        assert told.wait(10)
        jobs.submit("later", 0.01, lambda _: ran.set(), refused)
        assert ran.wait(10)
    finally:
        jobs.close()
    assert "'refused' failed" in caplog.text


def test_patient_jobs_begin_once_no_other_has_come_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_CALM", 0.05)
    jobs, ran, lock = Schedule(), threading.Barrier(4), threading.Lock()
    begun: list[str] = []

    def run(job: Job) -> None:
        with lock:
            begun.append(str(job.key))
        ran.wait(10)

    def refused(error: types.FsError) -> None:
        raise error

    try:
        for key in ("one", "two", "three"):
            jobs.submit(key, 3600.0, run, refused, Manner.PATIENT)
        ran.wait(10)
        assert sorted(begun) == ["one", "three", "two"]
    finally:
        jobs.close()


def test_a_patient_job_does_not_wait_beyond_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_CALM", 3600.0)
    jobs, ran, other = Schedule(), threading.Event(), threading.Event()

    def refused(error: types.FsError) -> None:
        raise error

    try:
        jobs.submit("is due", 0.05, lambda _: ran.set(), refused, Manner.PATIENT)
        jobs.submit("is not", 3600.0, lambda _: other.set(), refused, Manner.PATIENT)
        assert ran.wait(10)
        assert not other.is_set()
        jobs.expedite(lambda key: key == "is not")
        assert other.wait(10)
    finally:
        jobs.close()
