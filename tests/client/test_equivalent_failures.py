"""What goes wrong, goes wrong alike with the ``openai`` SDK and with ours: the errors, and how often is retried."""

import openai
import pytest
from openai import OpenAI

import containerfs
from containerfs import Client
from tests.client.service import Reply, Service

BODIES: list[object] = [
    {"error": {"message": "no", "type": "t", "param": "p", "code": "c"}},
    {"error": {"message": "no", "type": "t", "param": None, "code": None}},
    b"<html>",
    b"",
]


def failures(service: Service, reply: Reply) -> list[containerfs.APIError]:
    """What the SDK and ours raise for an answer."""
    service.respond = lambda _: reply
    raised = []
    with (
        OpenAI(base_url=service.url, api_key="-", max_retries=0) as sdk,
        Client(base_url=service.url, api_key="-", max_retries=0) as ours,
    ):
        for client in (sdk, ours):
            with pytest.raises((openai.APIError, containerfs.APIError)) as error:
                client.containers.retrieve("c")
            raised.append(error.value)
    return raised  # type: ignore[return-value]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429, 500, 503])
@pytest.mark.parametrize("body", BODIES, ids=["whole", "nulls", "html", "empty"])
def test_the_same_error_with_the_same_attributes(service: Service, status: int, body: object) -> None:
    theirs, ours = failures(service, Reply(body, status, {"x-request-id": "req_1"}))
    assert type(ours).__name__ == type(theirs).__name__
    assert [base.__name__ for base in type(theirs).__mro__ if issubclass(base, openai.APIError)] == [
        base.__name__ for base in type(ours).__mro__ if issubclass(base, containerfs.APIError)
    ]
    for attribute in ("status_code", "request_id", "code", "param", "type"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute


def test_a_dropped_connection_is_the_same_error(service: Service) -> None:
    theirs, ours = failures(service, Reply(dropped=True))
    assert type(ours).__name__ == type(theirs).__name__ == "APIConnectionError"


AT_ONCE = {"retry-after-ms": "1"}
ANSWERS = [
    *(Reply(status=status, headers=AT_ONCE) for status in (400, 401, 404, 408, 409, 410, 422, 429, 500, 501, 503)),
    Reply(status=400, headers={**AT_ONCE, "x-should-retry": "true"}),
    Reply(status=503, headers={**AT_ONCE, "x-should-retry": "false"}),
    Reply(status=503, headers={**AT_ONCE, "x-should-retry": "perhaps"}),
    Reply(status=503, headers={"retry-after": "0.001"}),
    Reply(status=503, headers={"retry-after-ms": "nonsense", "retry-after": "0.001"}),
    Reply(status=503, headers={"retry-after": "121"}),
    Reply(status=400, headers={"retry-after": "121", "x-should-retry": "true"}),
    Reply(status=429, headers={"retry-after": "1e999"}),
]


def described(reply: Reply) -> str:
    return " ".join([str(reply.status), *(f"{name}={value}" for name, value in reply.headers.items())])


@pytest.mark.parametrize("reply", ANSWERS, ids=described)
def test_the_same_answers_are_retried_as_often(service: Service, reply: Reply) -> None:
    service.respond = lambda _: reply
    sent = []
    for client in (
        OpenAI(base_url=service.url, api_key="-"),
        Client(base_url=service.url, api_key="-"),
    ):
        with client, pytest.raises((openai.APIStatusError, containerfs.APIStatusError)):
            client.containers.create(name="n")
        sent.append(len(service.requests))
        service.requests.clear()
    assert sent[0] == sent[1]
    assert sent[1] in (1, 3)
