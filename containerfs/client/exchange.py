"""When to retry a request, and after how long: a generator that decides, and does nothing else.

It yields what to do next, and is sent the result: the outcome of the last ``Send``, which a ``Wait`` does not change.
It returns the final outcome. Time and chance are parameters.

The policy is the SDK's. Connection errors, timeouts, 408, 409, 429 and 5xx are retried, unless ``x-should-retry`` says
otherwise. The service's ``retry-after-ms`` or ``retry-after`` is followed up to two minutes; if it is longer, nothing
is retried. Otherwise the delay doubles from 0.5 s to 8 s, minus up to a quarter. Two things go beyond the SDK's: a
delay that comes with 429 delays all requests, not only the one that got it; and retries can be limited by time instead
of number.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

from containerfs.api.errors import APIConnectionError

INITIAL_DELAY = 0.5
MAX_DELAY = 8.0
MAX_TIMED_DELAY = 2.0  # if retries are limited by time, which must not be spent sleeping
MAX_RETRY_AFTER = 120.0


class Answered(Protocol):
    """The head of an answer. Headers are looked up in lower case."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


A = TypeVar("A", bound=Answered)


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request. ``retries`` tells how often that was done before."""

    retries: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for so many seconds. With ``for_all``, all other requests should wait too, because the service has too
    many."""

    seconds: float
    for_all: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """How often to retry; ``clock`` gives Unix seconds, ``chance`` a number from 0 to 1.

    With ``retry_for``, retries are sent for that many seconds, instead of ``max_retries`` times.
    """

    max_retries: int
    clock: Callable[[], float]
    chance: Callable[[], float]
    retry_for: float | None = None

    def is_last(self, retries: int) -> bool:
        """Tell whether no more retries may follow this many."""
        return self.retry_for is None and retries >= self.max_retries


Steps = Generator[Send | Wait, A | APIConnectionError, A | APIConnectionError]


def exchange(policy: Policy, replayable: Callable[[], bool]) -> Steps[A]:
    """Decide on the attempts of one request.

    Args:
        policy: limits the retries, and provides time and chance.
        replayable: returns whether the request's body can be sent again. Called after each failure.
    """
    begun = policy.clock()
    retries = 0
    while True:
        outcome = yield Send(retries)
        if policy.is_last(retries) or not (_worth_retrying(outcome, policy) and replayable()):
            return outcome
        wait = _wait(outcome, retries, policy)
        if policy.retry_for is not None and policy.clock() + wait.seconds > begun + policy.retry_for:
            return outcome
        yield wait
        retries += 1


def _worth_retrying(outcome: Answered | APIConnectionError, policy: Policy) -> bool:
    if isinstance(outcome, APIConnectionError):
        return True
    if (_asked_delay(outcome, policy) or 0) > MAX_RETRY_AFTER:
        return False
    said = outcome.headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return outcome.status_code in (408, 409, 429) or outcome.status_code >= 500


def _wait(outcome: Answered | APIConnectionError, retries: int, policy: Policy) -> Wait:
    """Return how long to wait for the next attempt: as long as the service asks, or twice as long as the last time."""
    if not isinstance(outcome, APIConnectionError):
        asked = _asked_delay(outcome, policy)
        if asked is not None and 0 < asked <= MAX_RETRY_AFTER:
            return Wait(asked, for_all=outcome.status_code == 429)
    longest = MAX_DELAY if policy.retry_for is None else MAX_TIMED_DELAY
    doubled = min(INITIAL_DELAY * 2.0 ** min(retries, 10), longest)
    return Wait(doubled * (1 - 0.25 * policy.chance()), for_all=False)


def _asked_delay(answer: Answered, policy: Policy) -> float | None:
    """Return the delay that the service asks for, in seconds; None if it asks for none, or the value is invalid."""
    milliseconds = _number(answer.headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    retry_after = answer.headers.get("retry-after")
    seconds = _number(retry_after)
    return seconds if seconds is not None else _until(retry_after, policy)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    # "inf" and "nan" are not delays; a number too large for a float is a long one.
    return number if any(map(str.isdigit, text or "")) else None


def _until(date: str | None, policy: Policy) -> float | None:
    """Return the seconds until an HTTP date. Source: RFC 9110, section 5.6.7."""
    try:
        return parsedate_to_datetime(date or "").timestamp() - policy.clock()
    except (ValueError, OverflowError):
        return None
