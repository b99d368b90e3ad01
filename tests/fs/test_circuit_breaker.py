"""A service that is down is not waited for again and again, and one broken connection is not a service that is down."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from containerfs.fs import breaker as breaker_module
from containerfs.fs import types
from containerfs.fs.breaker import CircuitBreaker

PATIENCE = 10.0


class Clock:
    """A clock that goes when it is told to; what it calls ``time`` otherwise is the real module's."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Service:
    """Answers when the test says what."""

    def __init__(self) -> None:
        self.answers: SimpleQueue[types.FsError | None] = SimpleQueue()
        self.asked = threading.Semaphore(0)

    def ask(self) -> None:
        self.asked.release()
        answer = self.answers.get(timeout=30)
        if answer is not None:
            raise answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breaker_module, "time", clock)
    monkeypatch.setattr(breaker_module, "_FIRST_PAUSE", 0.001)
    return clock


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def breaker(clock: Clock, service: Service) -> Iterator[CircuitBreaker]:
    breaker = CircuitBreaker(PATIENCE, service.ask)
    clock.now += 1
    yield breaker
    breaker.close()
    threads = looking()
    for _ in threads:
        service.answers.put(None)
    for thread in threads:
        thread.join(30)


def looking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "looking for the service"]


def is_open(breaker: CircuitBreaker) -> bool:
    """Whether calls fail at once."""
    try:
        breaker.check()
    except types.Down:
        return True
    return False


def silence(breaker: CircuitBreaker, clock: Clock, seconds: float = PATIENCE) -> None:
    begun = clock.now
    clock.now += seconds
    breaker.unanswered(begun)


def doubt(clock: Clock) -> None:
    """The moment passes that the service is given to answer in the background."""
    clock.now += breaker_module._DOUBT


def test_a_silence_that_is_borne_is_not_a_service_that_is_down(breaker: CircuitBreaker, clock: Clock) -> None:
    silence(breaker, clock, PATIENCE - 1)
    assert not is_open(breaker)


def test_after_a_silence_too_long_calls_are_refused(breaker: CircuitBreaker, clock: Clock) -> None:
    silence(breaker, clock)
    doubt(clock)
    assert is_open(breaker)


def test_nothing_is_refused_before_the_service_had_a_moment_to_answer(
    breaker: CircuitBreaker, clock: Clock, service: Service
) -> None:
    """It may have failed some requests, such as uploads, and answer all others."""
    silence(breaker, clock)
    assert service.asked.acquire(timeout=30)
    assert not is_open(breaker)
    assert breaker.silent_since() is None


def test_a_look_that_fails_ends_the_doubt(breaker: CircuitBreaker, clock: Clock, service: Service) -> None:
    silence(breaker, clock)
    service.answers.put(types.Unreachable("refused"))
    for _ in range(2):
        assert service.asked.acquire(timeout=30)
    assert is_open(breaker)


def test_failures_one_after_the_other_are_one_silence(breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(9):
        silence(breaker, clock, 1.0)
        assert not is_open(breaker)
    silence(breaker, clock, 1.0)
    doubt(clock)
    assert is_open(breaker)


def test_an_answer_to_anybody_ends_a_silence(breaker: CircuitBreaker, clock: Clock) -> None:
    begun = clock.now
    clock.now += PATIENCE - 1
    breaker.heard()
    clock.now += 1
    breaker.unanswered(begun)
    assert not is_open(breaker)


def test_one_thread_looks_until_the_service_answers(breaker: CircuitBreaker, clock: Clock, service: Service) -> None:
    returned = threading.Event()
    breaker.on_return = returned.set
    silence(breaker, clock)
    silence(breaker, clock)
    doubt(clock)
    for _ in range(3):
        assert service.asked.acquire(timeout=30)
        assert not service.asked.acquire(blocking=False), "it is asked once at a time"
        assert is_open(breaker)
        service.answers.put(types.Unreachable("still down"))
    assert service.asked.acquire(timeout=30)
    service.answers.put(types.AccessDenied("that is an answer"))
    assert returned.wait(30)
    assert not is_open(breaker)


def test_a_service_that_fails_some_requests_has_not_been_away(
    breaker: CircuitBreaker, clock: Clock, service: Service
) -> None:
    """Else what it fails would be sent again at once, each time that it answers something else."""
    returned = threading.Event()
    breaker.on_return = returned.set
    silence(breaker, clock)
    assert service.asked.acquire(timeout=30)
    service.answers.put(None)
    (thread,) = looking()
    thread.join(30)
    doubt(clock)
    assert not is_open(breaker)
    assert not returned.is_set()


@pytest.fixture
def down(breaker: CircuitBreaker, clock: Clock, service: Service, monkeypatch: pytest.MonkeyPatch) -> CircuitBreaker:
    """A service is known to be down, and will not be looked for again by itself."""
    monkeypatch.setattr(breaker_module, "_FIRST_PAUSE", 1000.0)
    silence(breaker, clock)
    assert service.asked.acquire(timeout=30)
    service.answers.put(types.Unreachable("refused"))
    while breaker.silent_since() is None:
        threading.Event().wait(0.001)
    return breaker


def test_whoever_wants_everything_tried_has_the_service_looked_for(down: CircuitBreaker, service: Service) -> None:
    returned = threading.Event()
    down.on_return = returned.set
    assert is_open(down)
    down.seek()
    assert service.asked.acquire(timeout=30)
    assert down.silent_since() is None, "operations do not end because of what was known before"
    service.answers.put(None)
    down.check()
    assert returned.wait(30)
    assert not is_open(down)


def test_calls_wait_for_that_no_longer_than_for_the_first_look(
    down: CircuitBreaker, clock: Clock, service: Service
) -> None:
    down.seek()
    assert service.asked.acquire(timeout=30)
    doubt(clock)
    assert is_open(down)


def test_a_service_that_is_still_down_is_known_to_be_at_once(down: CircuitBreaker, service: Service) -> None:
    for _ in range(2):
        down.seek()
        assert service.asked.acquire(timeout=30)
        service.answers.put(types.Unreachable("refused"))
        while down.silent_since() is None:
            threading.Event().wait(0.001)
    assert is_open(down)


def test_an_older_look_that_fails_does_not_decide_for_a_later_one(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has asked a silent service, and the later one asks the service that has come back."""
    monkeypatch.setattr(breaker_module, "_FIRST_PAUSE", 1000.0)
    older, later = Service(), Service()
    looks = iter((older, later))
    breaker = CircuitBreaker(PATIENCE, lambda: next(looks).ask())
    silence(breaker, clock)
    assert older.asked.acquire(timeout=30)
    doubt(clock)
    assert is_open(breaker)
    breaker.seek()
    assert later.asked.acquire(timeout=30)
    older.answers.put(types.Unreachable("silent"))
    while not breaker._was_away:
        threading.Event().wait(0.001)
    assert breaker.silent_since() is None
    later.answers.put(None)
    assert not is_open(breaker)
    breaker.close()
    for thread in looking():
        thread.join(30)


def test_it_is_looked_for_once_however_many_want_it(down: CircuitBreaker, service: Service) -> None:
    for _ in range(3):
        down.seek()
    assert service.asked.acquire(timeout=30)
    assert not service.asked.acquire(blocking=False)


def test_a_service_that_answers_is_not_looked_for(breaker: CircuitBreaker, service: Service) -> None:
    breaker.seek()
    assert not service.asked.acquire(blocking=False)


def test_an_answer_to_a_call_under_way_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    silence(breaker, clock)
    doubt(clock)
    assert is_open(breaker)
    breaker.heard()
    assert not is_open(breaker)


def test_nothing_is_asked_once_it_is_closed(breaker: CircuitBreaker, clock: Clock, service: Service) -> None:
    silence(breaker, clock)
    assert service.asked.acquire(timeout=30)
    breaker.close()
    service.answers.put(types.Unreachable("still down"))
    (thread,) = looking()
    thread.join(30)
    assert not thread.is_alive()
