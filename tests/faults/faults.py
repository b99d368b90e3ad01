"""The usual faults, and the requests that they are for."""

import json

from tests.faults.exchange import Exchange, Fault, Match
from tests.faults.wire import Answer

ALWAYS = float("inf")

# Which requests


def upload_of(*names: str) -> Match:
    """Uploads of these files; without names, of any."""
    return lambda exchange: (
        exchange.is_upload and not exchange.is_of_attributes and (not names or exchange.name in names)
    )


def deletion(exchange: Exchange) -> bool:
    return exchange.method == "DELETE"


def change(exchange: Exchange) -> bool:
    """What changes files; modes, times and directories follow in their own time."""
    return exchange.is_change and not exchange.is_of_attributes


def making(exchange: Exchange) -> bool:
    """Requests that make a container."""
    return exchange.method == "POST" and exchange.path.endswith("/containers")


def copy(exchange: Exchange) -> bool:
    return exchange.is_copy


def look(exchange: Exchange) -> bool:
    return not exchange.is_change


def content(exchange: Exchange) -> bool:
    return exchange.method == "GET" and exchange.path.endswith("/content")


def anything(exchange: Exchange) -> bool:
    return True


# What becomes of them


def error(status: int, message: str = "as the test wants it", headers: list[tuple[str, str]] | None = None) -> Answer:
    """An answer of the API's form that refuses."""
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": None}}).encode()
    return Answer(status, "", [("content-type", "application/json"), *(headers or [])], body)


def loses_answer(exchange: Exchange) -> None:
    """The server has done it, and the client does not learn of it."""
    exchange.forward()
    exchange.cut()


def closes_instead(exchange: Exchange) -> None:
    """The same, with an orderly end of the connection."""
    exchange.forward()
    raise ConnectionAbortedError


def loses_request(exchange: Exchange) -> None:
    """The client has sent everything, and the server has seen nothing."""
    exchange.request.read_all()
    exchange.cut()


def cuts_at_once(exchange: Exchange) -> None:
    exchange.cut()


def cuts_body(exchange: Exchange) -> None:
    exchange.request.read_half()
    exchange.cut()


def forwards_cut_body(exchange: Exchange) -> None:
    """The server sees a content that breaks off."""
    exchange.forward_half()
    exchange.cut()


def stores_cut_body(exchange: Exchange) -> None:
    """The service takes half of the content for a whole file, and the connection breaks."""
    head, blank, rest = exchange.request.read_all().partition(b"\r\n\r\n")
    content, end, boundary = rest.rpartition(b"\r\n--")
    exchange.forward(head + blank + content[: len(content) // 2] + end + boundary)
    exchange.cut()


def refuses(status: int, message: str = "as the test wants it") -> Fault:
    """The server does not see it. The client is told not to try again by itself, which would hide the failure."""

    def fault(exchange: Exchange) -> None:
        exchange.request.read_all()
        headers = [("retry-after", "0")] if status == 429 else [("x-should-retry", "false")]
        exchange.answer(error(status, message, headers))

    return fault


def is_away(exchange: Exchange) -> None:
    """A proxy has lost the service behind it."""
    exchange.request.read_all()
    exchange.answer(Answer(502, "Bad Gateway", [("content-type", "text/html")], b"<html>"))


def refuses_unread(status: int) -> Fault:
    """The answer comes before the content was read, which never is."""

    def fault(exchange: Exchange) -> None:
        exchange.answer(Answer(status, "", [("connection", "close")], b""))
        exchange.left()
        exchange.cut()

    return fault


def answers(answer: Answer) -> Fault:
    """The server has done it, and the client gets another answer."""

    def fault(exchange: Exchange) -> None:
        exchange.forward()
        exchange.answer(answer)

    return fault


def cuts_answer(exchange: Exchange) -> None:
    """The server has done it; its answer is whole by its length, and half of the JSON."""
    answer = exchange.forward()
    exchange.answer(Answer(answer.status, answer.reason, answer.headers, answer.body[: len(answer.body) // 2]))


def cuts_connection_in_answer(exchange: Exchange) -> None:
    """The server has done it; the connection breaks in the middle of its answer."""
    whole = exchange.forward().encoded()
    exchange.request.stream.send(whole[:-20])
    exchange.cut()


HTML = Answer(200, "OK", [("content-type", "text/html")], b"<html><body>Please sign in</body></html>")
EMPTY = Answer(200, "OK", [("content-type", "application/json")], b"")
OTHER_JSON = Answer(200, "OK", [("content-type", "application/json")], b'{"status": "ok"}')

AFTER_COMMIT: dict[str, Fault] = {
    "connection reset": loses_answer,
    "connection closed": closes_instead,
    "HTML": answers(HTML),
    "no content": answers(EMPTY),
    "other JSON": answers(OTHER_JSON),
    "half of the JSON": cuts_answer,
    "half of the answer": cuts_connection_in_answer,
    "408": answers(error(408)),
    "409": answers(error(409)),
    "500": answers(error(500)),
    "502": answers(Answer(502, "Bad Gateway", [("content-type", "text/html")], b"<html>")),
    "504": answers(Answer(504, "Gateway Timeout", [("content-type", "text/html")], b"<html>")),
}
"""The content is stored, and the client cannot know."""

BEFORE_COMMIT: dict[str, Fault] = {
    "cut at once": cuts_at_once,
    "request lost": loses_request,
    "body cut": cuts_body,
    "body cut and forwarded": forwards_cut_body,
    "429": refuses(429),
    "500": refuses(500),
    "502": refuses(502),
    "503": refuses(503),
    "507": refuses(507),
}
"""Nothing is stored, and trying again helps."""

LASTING = {400: refuses(400), 403: refuses(403), 413: refuses(413), 415: refuses(415)}
"""Nothing is stored, and trying again does not help."""
