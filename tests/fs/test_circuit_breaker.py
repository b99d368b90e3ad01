"""A service that is down is not waited for again and again, and one broken connection is not a service that is down."""

import pytest

from containerfs.fs import breaker as breaker_module
from containerfs.fs import types
from containerfs.fs.breaker import CircuitBreaker


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breaker_module, "time", clock)
    return clock


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(pause=1.0)


def is_open(breaker: CircuitBreaker) -> bool:
    try:
        breaker.check()
    except types.Unreachable:
        return True
    return False


def test_one_failure_is_not_a_service_that_is_down(breaker: CircuitBreaker) -> None:
    breaker.failed()
    assert not is_open(breaker)


def test_after_the_second_failure_calls_are_refused_for_a_while(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.failed()
    breaker.failed()
    assert is_open(breaker)
    clock.now += 1.0
    assert not is_open(breaker)


def test_the_pause_doubles_up_to_half_a_minute(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.failed()
    for pause in (1, 2, 4, 8, 16, 30, 30):
        breaker.failed()
        clock.now += pause - 0.01
        assert is_open(breaker)
        clock.now += 0.01
        assert not is_open(breaker)


def test_an_answer_closes_it(breaker: CircuitBreaker) -> None:
    breaker.failed()
    breaker.failed()
    breaker.answered()
    assert not is_open(breaker)
    breaker.failed()
    assert not is_open(breaker)
