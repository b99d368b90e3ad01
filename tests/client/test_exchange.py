"""When a request is sent again: the decisions alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerfs.api.errors import APIConnectionError, APITimeoutError
from containerfs.client.exchange import Policy, Send, Steps, Wait, exchange

NOW = 1_700_000_000.0


@dataclass(frozen=True)
class Head:
    status_code: int
    headers: Mapping[str, str] = field(default_factory=dict)


Outcome = Head | APIConnectionError

ok = Head(200)
busy = Head(503)


def course(
    *outcomes: Outcome, max_retries: int = 2, replayable: bool = True, chance: float = 0.0
) -> tuple[list[Send | Wait], Outcome]:
    """The steps that follow from outcomes, and what stands in the end."""
    steps: list[Send | Wait] = []
    flow: Steps[Head] = exchange(Policy(max_retries, clock=lambda: NOW, chance=lambda: chance), lambda: replayable)
    coming = iter(outcomes)
    step = next(flow)
    try:
        while True:
            steps.append(step)
            if isinstance(step, Send):
                outcome = next(coming)
            step = flow.send(outcome)
    except StopIteration as end:
        stands: Outcome = end.value
        return steps, stands


def delay_after(outcome: Outcome, chance: float = 0.0) -> float:
    wait = course(outcome, ok, chance=chance)[0][1]
    assert isinstance(wait, Wait)
    return wait.seconds


def test_a_success_stands_at_once() -> None:
    assert course(ok) == ([Send(0)], ok)


def test_failures_are_retried_with_doubling_delays_until_the_last_stands() -> None:
    steps, stands = course(*[busy] * 8, max_retries=7)
    assert [step.seconds for step in steps if isinstance(step, Wait)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert [step.retries for step in steps if isinstance(step, Send)] == list(range(8))
    assert stands is busy


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 599])
def test_statuses_that_are_retried(status: int) -> None:
    assert course(Head(status), ok)[1] is ok


@pytest.mark.parametrize("status", [200, 201, 204, 206, 301, 400, 401, 403, 404, 410, 413, 416, 422])
def test_statuses_that_stand(status: int) -> None:
    head = Head(status)
    assert course(head) == ([Send(0)], head)


@pytest.mark.parametrize("error", [APIConnectionError("reset"), APITimeoutError("late")])
def test_connection_errors_are_retried(error: APIConnectionError) -> None:
    assert course(error, error, ok)[1] is ok
    assert course(error, error, error)[1] is error


@pytest.mark.parametrize("outcome", [busy, APIConnectionError("reset")])
def test_what_cannot_be_sent_again_is_not(outcome: Outcome) -> None:
    assert course(outcome, replayable=False) == ([Send(0)], outcome)


def test_the_service_may_overrule_the_status() -> None:
    assert course(Head(400, {"x-should-retry": "true"}), ok)[1] is ok
    refused = Head(503, {"x-should-retry": "false"})
    assert course(refused)[1] is refused


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30),
        ({"retry-after": "120"}, 120),
    ],
)
def test_the_service_may_say_how_long_to_wait(headers: Mapping[str, str], seconds: float) -> None:
    assert delay_after(Head(429, headers)) == seconds


@pytest.mark.parametrize(
    "value", ["0", "-3", "soon", "", "nan", "inf", "-inf", formatdate(NOW - 5, usegmt=True), "Thu, 99 Foo 2024"]
)
def test_an_unusable_delay_is_ignored(value: str) -> None:
    assert delay_after(Head(429, {"retry-after": value})) == 0.5


@pytest.mark.parametrize("value", ["121", "1e999", "99999999999999999999", formatdate(NOW + 3600, usegmt=True)])
def test_a_service_that_asks_for_more_than_two_minutes_is_not_waited_for(value: str) -> None:
    head = Head(429, {"retry-after": value, "x-should-retry": "true"})
    assert course(head) == ([Send(0)], head)


@pytest.mark.parametrize(
    ("head", "for_all"),
    [(Head(429, {"retry-after": "7"}), True), (Head(503, {"retry-after": "7"}), False), (Head(429), False)],
)
def test_too_many_requests_hold_up_all_others(head: Head, for_all: bool) -> None:
    wait = course(head, ok)[0][1]
    assert isinstance(wait, Wait)
    assert wait.for_all is for_all


def test_chance_takes_up_to_a_quarter_off() -> None:
    assert delay_after(busy, chance=1.0) == 0.375


header_text = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=20) | st.floats().map(str)
heads = st.builds(
    Head,
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry"]), header_text),
)
outcomes = heads | st.just(APIConnectionError("reset"))


@given(st.lists(outcomes, min_size=6, max_size=6), st.integers(0, 5), st.booleans(), st.floats(0, 1))
def test_every_course_is_bounded(answers: list[Outcome], max_retries: int, replayable: bool, chance: float) -> None:
    steps, stands = course(*answers, max_retries=max_retries, replayable=replayable, chance=chance)
    sends = [step for step in steps if isinstance(step, Send)]
    waits = [step.seconds for step in steps if isinstance(step, Wait)]
    assert [step.retries for step in sends] == list(range(len(sends)))
    assert len(sends) <= (max_retries if replayable else 0) + 1
    assert len(waits) == len(sends) - 1
    assert all(0 < seconds <= 120 for seconds in waits)
    assert stands is answers[len(sends) - 1]
