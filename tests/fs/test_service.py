"""What the file system is told about the service: what became of an upload, what is lasting, and what it can do."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from containerfs.api.dialect import FEATURES, FEATURES_HEADER, Dialect
from containerfs.client import Client
from containerfs.fs import types
from containerfs.fs.remote import UploadRequest
from containerfs.fs.service import ApiRemote
from containerfs.fs.types import RemoteFile
from tests.client.service import CONTAINER, CONTAINER_FILE, Reply, Request, Service, canned, page

FILE = RemoteFile("cfile_1", "cntr_1", "a.txt", 5, 1700000001)
OURS = {FEATURES_HEADER: FEATURES}


@dataclass
class Content:
    """Content to upload; ``fault`` is called before each read."""

    content: bytes
    fault: Callable[[], None] = lambda: None

    @property
    def size(self) -> int:
        return len(self.content)

    def read_at(self, offset: int, size: int) -> bytes:
        self.fault()
        return self.content[offset : offset + size]


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service


@pytest.fixture
def remote(service: Service) -> Iterator[ApiRemote]:
    with connected(service.url) as remote:
        yield remote


@contextmanager
def connected(url: str) -> Iterator[ApiRemote]:
    """A remote over a service."""
    with (
        Client(base_url=url, api_key="sk-test", timeout=30) as client,
        Client(base_url=url, api_key="sk-test", timeout=30, max_retries=0) as single_shot,
    ):
        yield ApiRemote(client, single_shot, "service", 10.0)


def upload(remote: ApiRemote, content: bytes = b"12345") -> RemoteFile:
    return remote.upload(UploadRequest("cntr_1", "a.txt", Content(content), "key-1"))


def copy(remote: ApiRemote, content: bytes = b"12345") -> RemoteFile:
    return remote.copy(FILE, "b.txt", "key-1")


STORING = pytest.mark.parametrize("store", [upload, copy])


def error(status: int, message: str = "no", code: str | None = None) -> Reply:
    return Reply({"error": {"message": message, "code": code}}, status)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


# What became of an upload or a copy


@STORING
@pytest.mark.parametrize(
    "reply",
    [
        Reply(dropped=True),
        Reply(CONTAINER_FILE, sent=10),
        Reply(b"<html>welcome</html>"),
        Reply({"object": "container.file"}),
        error(500),
        error(502),
        error(408),
        error(409),
    ],
    ids=["dropped", "cut short", "not JSON", "no id", "500", "502", "408", "409"],
)
def test_an_answer_that_says_nothing_is_lost(service: Service, remote: ApiRemote, store: Any, reply: Reply) -> None:
    service.replies(reply)
    with pytest.raises(types.AnswerLost) as raised:
        store(remote)
    assert not raised.value.lasting
    assert len(service.requests) == 1


@STORING
@pytest.mark.parametrize(
    ("reply", "kind", "lasting"),
    [
        (error(400), types.Refused, True),
        (error(415), types.Refused, True),
        (error(422), types.Refused, True),
        (error(409, code="idempotency_key_reused"), types.KeyConflict, False),
        (error(413), types.TooLarge, True),
        (error(401), types.AccessDenied, True),
        (error(403), types.AccessDenied, True),
        (error(404), types.NotFound, False),
        (error(410), types.NotFound, False),
        (error(400, "Container is expired."), types.NotFound, False),
        (error(423), types.Failed, False),
        (error(507), types.NoSpace, False),
    ],
)
def test_a_refusal_says_that_nothing_was_stored_and_whether_it_lasts(
    service: Service, remote: ApiRemote, store: Any, reply: Reply, kind: type[types.FsError], lasting: bool
) -> None:
    service.replies(reply)
    with pytest.raises(kind) as raised:
        store(remote)
    assert type(raised.value) is kind
    assert raised.value.lasting == lasting
    assert len(service.requests) == 1


@STORING
def test_a_refused_connection_stores_nothing(store: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with connected(f"http://127.0.0.1:{free.getsockname()[1]}/v1") as remote:
            for _ in range(3):  # the third time the circuit breaker is open
                with pytest.raises(types.Unreachable) as raised:
                    store(remote)
                assert type(raised.value) is types.Unreachable


@STORING
def test_a_service_that_is_asked_too_often_is_asked_again_later(
    service: Service, remote: ApiRemote, store: Any
) -> None:
    service.replies(error(429), error(429))
    assert store(remote).id == "cfile_1"
    assert {request.headers["idempotency-key"] for request in service.requests} == {"key-1"}
    assert len(service.requests) == 3
    assert len({request.body.partition(b"\r\n\r\n")[2][:5] for request in service.requests}) == 1


@STORING
def test_a_service_that_is_always_asked_too_often_has_stored_nothing(
    service: Service, remote: ApiRemote, store: Any
) -> None:
    service.respond = lambda request: error(429)
    with pytest.raises(types.Failed) as raised:
        store(remote)
    assert not raised.value.lasting


def test_what_the_source_raises_comes_through_and_nothing_is_stored(remote: ApiRemote, service: Service) -> None:
    def abandon() -> None:
        raise types.NoSpace("abandoned")

    with pytest.raises(types.NoSpace, match="abandoned"):
        remote.upload(UploadRequest("cntr_1", "a.txt", Content(b"12345", abandon), "key-1"))
    assert upload(remote).id == "cfile_1"


def test_a_source_that_ends_early_is_an_error_and_nothing_is_stored(remote: ApiRemote) -> None:
    class Short(Content):
        def read_at(self, offset: int, size: int) -> bytes:
            return super().read_at(offset, size)[:-1]

    with pytest.raises(types.Failed, match="ended after 4 bytes"):
        remote.upload(UploadRequest("cntr_1", "a.txt", Short(b"12345"), "key-1"))


@STORING
def test_a_size_that_the_service_does_not_tell_is_the_one_that_was_sent(
    service: Service, remote: ApiRemote, store: Any
) -> None:
    service.replies(Reply({**CONTAINER_FILE, "bytes": None}))
    assert store(remote).size == 5


@STORING
def test_what_is_not_stored_whole_is_removed(service: Service, remote: ApiRemote, store: Any) -> None:
    service.replies(Reply({**CONTAINER_FILE, "bytes": 4}))
    with pytest.raises(types.Failed, match="stored 4 of 5 bytes"):
        store(remote)
    assert [(request.method, request.path) for request in service.requests][1:] == [
        ("DELETE", "/v1/containers/cntr_1/files/cfile_1")
    ]


@STORING
def test_what_is_not_stored_whole_and_cannot_be_removed_may_be_there(
    service: Service, remote: ApiRemote, store: Any
) -> None:
    less = Reply({**CONTAINER_FILE, "bytes": 4})
    service.respond = lambda request: error(403) if request.method == "DELETE" else less
    with pytest.raises(types.AnswerLost, match="stored 4 of 5 bytes"):
        store(remote)


def test_an_upload_announces_its_length(service: Service, remote: ApiRemote) -> None:
    upload(remote)
    (request,) = service.requests
    assert int(request.headers["content-length"]) == len(request.body)
    assert "transfer-encoding" not in request.headers


def test_other_calls_are_unreachable_where_an_upload_would_be_lost(service: Service, remote: ApiRemote) -> None:
    for reply in (error(500), error(408), error(409), Reply(dropped=True)):
        service.respond = lambda request, reply=reply: reply  # type: ignore[misc]
        with pytest.raises(types.Unreachable) as raised:
            remote.files("cntr_1")
        assert type(raised.value) is types.Unreachable


# The newest files


def listing(service: Service, *ages: int) -> list[str]:
    """Let the service list files that were made so many seconds ago, two on a page; returns their ids."""
    now = 1_700_000_000
    files = [{**CONTAINER_FILE, "id": f"cfile_{number}", "created_at": now - age} for number, age in enumerate(ages)]
    ids = [str(file["id"]) for file in files]

    def respond(request: Request) -> Reply:
        after = dict(request.query).get("after")
        start = ids.index(after) + 1 if after else 0
        return page(files[start : start + 2], has_more=start + 2 < len(files))

    service.respond = respond
    return ids


def test_the_newest_files_are_listed_until_older_ones_are_met(service: Service, remote: ApiRemote) -> None:
    ids = listing(service, 0, 10, 20, 1000, 2000, 3000)
    assert [file.id for file in remote.newest("cntr_1", 1_700_000_000 - 30)] == ids[:3]
    assert [dict(request.query).get("order") for request in service.requests] == ["desc", "desc"]


def test_a_clock_that_is_behind_hides_no_file(service: Service, remote: ApiRemote) -> None:
    ids = listing(service, 290, 310)
    assert [file.id for file in remote.newest("cntr_1", 1_700_000_000)] == ids[:1]


def test_files_of_which_the_service_tells_no_time_may_be_new(service: Service, remote: ApiRemote) -> None:
    ids = listing(service, *[1_700_000_000] * 3)
    assert [file.id for file in remote.newest("cntr_1", 1_700_000_000)] == ids


# What the service can do


def test_what_the_service_can_do_is_found_out_by_the_first_check(service: Service, remote: ApiRemote) -> None:
    assert remote.dialect == Dialect()
    remote.check()
    assert remote.dialect == Dialect()
    service.respond = lambda request: Reply(canned(request).body, headers=OURS)
    remote.check()
    assert remote.dialect == Dialect.of(OURS)
    assert remote.dialect.idempotency


def test_a_check_lists_the_containers_if_one_page_has_them_all(service: Service, remote: ApiRemote) -> None:
    listed = remote.check()
    assert listed is not None
    assert listed == remote.containers()
    service.respond = lambda _: page([CONTAINER], has_more=True)
    assert remote.check() is None


def test_a_service_that_is_asked_too_often_says_what_it_can_do(service: Service, remote: ApiRemote) -> None:
    service.replies(Reply(status=429, headers=OURS))
    remote.check()
    assert remote.dialect.idempotency


def test_an_error_that_advertises_nothing_changes_nothing(service: Service, remote: ApiRemote) -> None:
    service.replies(Reply(canned(Request("GET", "/v1/containers", {}, b"")).body, headers=OURS), error(502))
    remote.check()
    with pytest.raises(types.Unreachable):
        remote.check()
    assert remote.dialect.idempotency


def test_a_check_fails_where_the_answer_is_no_listing(service: Service, remote: ApiRemote) -> None:
    service.replies(Reply(b"<html>"), error(401), error(500))
    for kind in (types.Failed, types.AccessDenied, types.Unreachable):
        with pytest.raises(kind):
            remote.check()


def test_failed_requests_do_not_change_what_the_service_can_do(service: Service, remote: ApiRemote) -> None:
    service.replies(Reply(canned(Request("GET", "/v1/containers", {}, b"")).body, headers=OURS))
    remote.check()
    known = remote.dialect
    service.respond = lambda request: error(404)
    for attempt in (copy, upload, lambda remote: remote.size(FILE)):
        with pytest.raises(types.NotFound):
            attempt(remote)
    assert remote.dialect == known


@pytest.mark.parametrize("reply", [error(405), error(501), Reply(b"12345", length=False)], ids=["405", "501", "none"])
def test_a_service_without_sizes_is_asked_for_one_once(service: Service, remote: ApiRemote, reply: Reply) -> None:
    service.respond = lambda request: reply if request.method == "HEAD" else Reply(b"12345")
    assert remote.size(FILE) == 5
    service.requests.clear()
    assert remote.size(FILE) == 5
    assert [request.method for request in service.requests] == ["GET"]


def test_a_head_that_fails_in_passing_is_tried_again_for_the_next_file(service: Service, remote: ApiRemote) -> None:
    heads = iter([404, 200])

    def respond(request: Request) -> Reply:
        status = next(heads) if request.method == "HEAD" else 404
        return Reply(b"12345") if status == 200 else error(status)

    service.respond = respond
    with pytest.raises(types.NotFound):
        remote.size(FILE)
    assert remote.size(FILE) == 5


OTHERS = [
    Reply(b"other", headers={"ETag": '"cfile_2"', **OURS}),
    Reply(b"ther", 206, {"ETag": '"cfile_2"', "Content-Range": "bytes 1-4/5", **OURS}),
    Reply(b"other", 206, {"Content-Range": "bytes 5-9/10"}),
    Reply(b"ther", 206, {"Content-Range": "bytes 1-4/6"}),
    Reply(b"the", 206, {"Content-Range": "bytes 1-4/5"}),
]


@pytest.mark.parametrize("other", OTHERS)
def test_the_answer_to_another_request_is_not_taken_for_a_content(
    remote: ApiRemote, service: Service, other: Reply
) -> None:
    remote.dialect = Dialect.of(OURS)
    service.replies(other)
    with pytest.raises(types.Unreachable, match="the service sent"), remote.content(FILE, 1):
        pass
    service.replies(Reply(b"hello", headers={"ETag": 'W/"cfile_1"'}))
    with remote.content(FILE, 1) as stream:
        assert (stream.start, b"".join(stream.chunks)) == (0, b"hello")
    assert service.connections == 2


def test_an_etag_means_nothing_where_the_service_does_not_say_so(remote: ApiRemote, service: Service) -> None:
    service.replies(Reply(b"hello", headers={"ETag": '"0815"'}))
    with remote.content(FILE) as stream:
        assert b"".join(stream.chunks) == b"hello"


def test_times_in_milliseconds_are_times(remote: ApiRemote, service: Service) -> None:
    told = {"id": "cntr_1", "name": "n", "created_at": 1700000000123, "expires_at": 1800000000456}
    service.replies(page([told]))
    (container,) = remote.containers()
    assert (container.created_at, container.expires_at) == (1700000000, 1800000000)
    service.replies(page([CONTAINER_FILE | {"created_at": 1700000001999}]))
    (file,) = remote.files("cntr_1")
    assert file.created_at == 1700000001
