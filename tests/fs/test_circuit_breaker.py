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
    service.answers.put(None)


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
    (thread,) = (each for each in threading.enumerate() if each.name == "looking for the service")
    thread.join(30)
    doubt(clock)
    assert not is_open(breaker)
    assert not returned.is_set()


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
    (thread,) = (each for each in threading.enumerate() if each.name == "looking for the service")
    thread.join(30)
    assert not thread.is_alive()
