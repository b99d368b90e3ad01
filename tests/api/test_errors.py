"""How an answer becomes an error."""

import pytest

from containerfs.api import errors
from containerfs.api.errors import APIStatusError, InternalServerError, NotFoundError, from_response

DETAILS = {"message": "no", "type": "t", "param": "p", "code": "c"}


def test_the_services_words_and_details() -> None:
    error = from_response(404, {"x-request-id": "req_1"}, {"error": DETAILS})
    assert isinstance(error, NotFoundError)
    assert str(error) == error.message == "404: no"
    assert (error.type, error.param, error.code) == ("t", "p", "c")
    assert (error.status_code, error.request_id, error.body) == (404, "req_1", {"error": DETAILS})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (DETAILS, "400: no"),
        ({"error": "plain"}, "400: plain"),
        ("<html>", "400: the service gave no reason"),
        ("<!-- a --><html><body>text</body></html>", "400: the service gave no reason"),
        ("\n<!DOCTYPE html>\n<head><title>\n 502 Bad &amp; Gateway</title></head><p>x", "400: 502 Bad & Gateway"),
        ("a < b <title>c</title>", "400: a < b <title>c</title>"),
        ("x" * 600, "400: " + "x" * 500),
        (None, "400: the service gave no reason"),
        ({}, "400: the service gave no reason"),
        ([1], "400: the service gave no reason"),
        ({"error": {"message": None}}, "400: the service gave no reason"),
        ({"error": {"message": "no", "code": 7}}, "400: no"),
    ],
)
def test_bodies_of_other_shapes(body: object, message: str) -> None:
    assert from_response(400, {}, body).message == message


def test_codes_are_text_or_none() -> None:
    assert from_response(400, {}, {"error": {"code": 7}}).code == "7"
    assert from_response(400, {}, None).code is None


@pytest.mark.parametrize(
    ("status", "kind"), [(500, InternalServerError), (599, InternalServerError), (451, APIStatusError)]
)
def test_statuses_without_an_error_of_their_own(status: int, kind: type[APIStatusError]) -> None:
    assert type(from_response(status, {}, None)) is kind


def test_the_tree_is_as_drawn() -> None:
    drawing = (errors.__doc__ or "").splitlines()
    drawn = [line.replace("─", " ").replace("├", " ").replace("└", " ").replace("│", " ") for line in drawing[2:]]
    parents: dict[int, type] = {}
    seen = []
    for line in drawn[: drawn.index("")]:
        name, depth = line.split()[0], len(line) - len(line.lstrip())
        kind = getattr(errors, name)
        above = [parents[each] for each in sorted(parents) if each < depth]
        assert kind.__base__ is (above[-1] if above else Exception), name
        parents = {each: parents[each] for each in parents if each < depth} | {depth: kind}
        seen.append(name)
    assert sorted(seen) == sorted(errors.__all__)
