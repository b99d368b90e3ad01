"""An operation waits as long as something comes, and no longer than its patience, or than somebody wants its result."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from containerfs.fs import deadline, tasks, types
from containerfs.fs.deadline import Deadline
from containerfs.fs.tasks import Task, Workers

LONG = 60.0


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


@contextmanager
def operation(
    patience: float = LONG,
    interrupted: Callable[[], bool] = lambda: False,
    silent_since: Callable[[], float | None] = lambda: None,
) -> Iterator[list[float]]:
    """This thread serves an operation; yields the times since when nothing has come, as its expiry tells them."""
    expired: list[float] = []
    with deadline.Operation(Deadline(patience, interrupted, expired.append, silent_since)):
        yield expired


def test_what_is_there_is_not_waited_for() -> None:
    done: Future[str] = Future()
    done.set_result("result")
    with operation(patience=0.0, interrupted=lambda: True):
        assert deadline.result(done) == "result"


def test_patience_ends_and_its_end_is_told() -> None:
    begun = time.monotonic()
    with operation(patience=0.05) as expired, pytest.raises(types.Unreachable, match=r"0\.05 s"):
        deadline.result(Future())
    assert begun <= expired[0] <= time.monotonic() - 0.05


def test_all_waits_of_an_operation_share_its_patience() -> None:
    with operation(patience=0.05) as expired:
        for _ in range(5):
            with pytest.raises(types.Unreachable):
                deadline.result(Future())
        assert len(set(expired)) == 1, "each is counted from the operation's begin"


def test_an_operation_that_is_over_begins_nothing(workers: Workers) -> None:
    done: list[None] = []
    with operation(patience=0.0), pytest.raises(types.Unreachable):
        workers.do(lambda: done.append(None))
    with operation(interrupted=lambda: True), pytest.raises(types.Interrupted):
        workers.do(lambda: done.append(None))
    workers.close()
    assert not done


def test_time_in_which_this_process_was_stopped_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now, expired = 100.0, list[float]()
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: now))
    waiting = Deadline(13.0, lambda: False, expired.append, lambda: None)
    for passed in (4.0, 60.0, 4.0, 3600.0, 4.0):
        now += passed
        waiting.next_look(deadline.NEVER)
    now += 1.5
    with pytest.raises(types.Unreachable):
        waiting.next_look(deadline.NEVER)
    assert expired == [now - 13.5]


def test_progress_renews_patience() -> None:
    """As long as something has come just now, nothing ends the wait."""
    looks: Future[None] = Future()
    count = 0

    def moved_at() -> float:
        nonlocal count
        count += 1
        if count == 5:
            looks.set_result(None)
        return time.monotonic()

    with operation(patience=0.001):
        assert deadline.result(looks, moved_at) is None
    assert count == 5


def test_nobody_waits_for_a_service_that_others_have_found_to_be_down() -> None:
    """Also not for what was begun before; but for what has come since, for it is not quite so."""
    silent: list[float] = []
    with operation(silent_since=lambda: silent[0] if silent else None) as expired:
        threading.Timer(0.05, lambda: silent.append(time.monotonic() - 30)).start()
        with pytest.raises(types.Down):
            deadline.result(Future())
        assert not expired, "its own patience has not ended"
    done: Future[str] = Future()
    with operation(silent_since=lambda: silent[0]):
        threading.Timer(0.15, lambda: done.set_result("result")).start()
        assert deadline.result(done, lambda: silent[0] + 1) == "result"


def test_an_interruption_ends_a_wait() -> None:
    with operation(interrupted=lambda: True), pytest.raises(types.Interrupted):
        deadline.result(Future())


def test_a_condition_is_waited_for_likewise() -> None:
    changed = threading.Condition()
    with operation(patience=0.0), changed, pytest.raises(types.Unreachable):
        deadline.wait(changed)
    with operation(interrupted=lambda: True), changed, pytest.raises(types.Interrupted):
        deadline.wait(changed)


def test_what_deserves_less_patience_gets_less() -> None:
    changed = threading.Condition()
    with operation(), changed, pytest.raises(types.Unreachable):
        deadline.wait(changed, patience=0.0)


def test_a_wait_may_have_an_end_of_its_own() -> None:
    with pytest.raises(TimeoutError):
        deadline.result(Future(), until=time.monotonic())


def test_a_future_that_fails_with_a_time_out_of_its_own() -> None:
    failed: Future[None] = Future()
    failed.set_exception(TimeoutError("its own"))
    with operation(), pytest.raises(TimeoutError, match="its own"):
        deadline.result(failed)


def test_something_else_may_interrupt_as_well() -> None:
    with operation():
        current = deadline.current()
        assert current is not None
        current.also_ended_by(lambda: True)
        with pytest.raises(types.Interrupted):
            deadline.result(Future())


def test_a_task_runs_elsewhere_where_an_operation_waits_for_it(workers: Workers) -> None:
    assert workers.do(threading.get_ident) == threading.get_ident()
    with operation():
        assert workers.do(threading.get_ident) != threading.get_ident()
        assert workers.do(deadline.current) is None


def test_a_task_outlives_an_operation_that_gives_up(workers: Workers) -> None:
    go_on = threading.Event()
    task = Task(lambda: go_on.wait(30))
    with operation(patience=0.05):
        workers.begin(task)
        with pytest.raises(types.Unreachable):
            task.result()
    go_on.set()
    assert task.result()


def test_what_a_task_brings_in_parts_is_progress(workers: Workers) -> None:
    def work() -> None:
        tasks.moved()

    task = Task(work)
    assert task.moved_at == deadline.NEVER
    with operation():
        workers.begin(task)
        task.result()
    assert task.moved_at > deadline.NEVER
    tasks.moved()  # nobody waits here


def test_what_is_progress_of_a_part_is_progress_of_the_whole(workers: Workers) -> None:
    whole = Task(lambda: workers.do(tasks.moved))
    whole.run()
    assert whole.moved_at > deadline.NEVER


def test_what_needs_nothing_of_the_service_ends_no_patience_with_it(workers: Workers) -> None:
    def work() -> str:
        with tasks.own_work():
            time.sleep(0.3)
        return "result"

    with operation(patience=0.1):
        task = Task(work)
        workers.begin(task)
        assert task.result() == "result"
    with tasks.own_work():
        assert task.moved_at < time.monotonic(), "nobody waits here"


def test_without_a_thread_a_task_fails(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    task = Task(lambda: None)
    with operation():
        with pytest.raises(types.Failed, match="limit on processes"):
            workers.begin(task)
        with pytest.raises(types.Failed):
            task.result()
    task.run()
    with pytest.raises(types.Failed):
        task.result()


def test_a_wait_for_something_else_than_the_service_ends_no_patience_with_it() -> None:
    changed = threading.Condition()
    with operation(patience=0.2) as expired, changed:
        ends = time.monotonic() + 0.5
        deadline.wait_for(changed, lambda: False, ends, moved_at=time.monotonic)
        assert time.monotonic() >= ends
    assert expired == []
