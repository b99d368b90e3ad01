"""Uploads: names, forms of files, lengths, memory and progress."""

import asyncio
import io
import os
import re
import socket
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.parser import BytesParser
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import parse_options_header

import containerfs
from containerfs import AsyncClient, Client
from containerfs.client.body import CHUNK_SIZE, FormBody, JsonBody
from containerfs.client.types import FileTypes
from tests.client.service import Reply, Service

# What a file can be called on Linux: any UTF-8 but NUL, up to 255 bytes a segment; and a path of such.
segments = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/") | st.sampled_from("\"\\%\r\n;='* \t\x1b\x7f"), min_size=1
).filter(lambda name: len(name.encode()) <= 255)
names = st.lists(segments, min_size=1, max_size=3).map("/".join)


def part_headers(body: FormBody) -> dict[str, str]:
    """The headers of a form's file, as they are sent."""
    form = b"".join(body)
    boundary = body.content_type.partition("boundary=")[2].encode()
    head = form.split(b"--" + boundary + b"\r\n")[-1].partition(b"\r\n\r\n")[0]
    return dict(line.split(": ", 1) for line in head.decode().split("\r\n"))


def received_name(disposition: str) -> str:
    """The name that a server reads: the exact one if it was sent, else the plain one."""
    plain, _, exact = disposition.partition("; filename*=UTF-8''")
    return unquote(exact, errors="strict") if exact else plain.partition('; filename="')[2].removesuffix('"')


@given(names)
def test_every_name_arrives(name: str) -> None:
    headers = part_headers(FormBody({}, (name, b"x")))
    assert received_name(headers["Content-Disposition"]) == name


@given(names)
def test_names_cannot_break_out_of_their_header(name: str) -> None:
    body = FormBody({}, (name, b"content"))
    message = BytesParser().parsebytes(f"Content-Type: {body.content_type}\r\n\r\n".encode() + b"".join(body))
    whole, part = message.walk()
    assert whole.is_multipart()
    assert part.get_payload() == "content"
    assert set(part.keys()) == {"Content-Disposition", "Content-Type"}


@pytest.mark.parametrize(
    "name", ["a.txt", "with space", "a/b.txt", "\u00e9\U0001f600", "semi;colon='x'", "-dash", "e\u0301"]
)
def test_ordinary_names_are_sent_as_httpx_sends_them(name: str) -> None:
    ours = part_headers(FormBody({}, (name, b"x")))
    request = httpx.Request("POST", "http://x", files={"file": (name, b"x")})
    assert f"Content-Disposition: {ours['Content-Disposition']}\r\n".encode() in request.read()
    assert "filename*" not in ours["Content-Disposition"]
    kind, parameters = parse_options_header(ours["Content-Disposition"].encode())
    assert (kind, parameters[b"filename"].decode()) == (b"form-data", name)


@pytest.mark.parametrize(
    ("name", "sent"), [('a"b', "a%22b"), ("a%22b", "a%22b"), ("a\nb", "a%0Ab"), ("a\\b", "a\\\\b"), ("100%", "100%")]
)
def test_ambiguous_names_are_sent_in_both_ways(name: str, sent: str) -> None:
    disposition = part_headers(FormBody({}, (name, b"x")))["Content-Disposition"]
    assert f"; filename=\"{sent}\"; filename*=UTF-8''" in disposition
    assert received_name(disposition) == name


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        FormBody({}, ("\udcff", b"x"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(b"12345")
    return path


class Letters:
    """Content that is read at offsets; it ends after ``found`` bytes."""

    def __init__(self, content: bytes, found: int | None = None) -> None:
        self.size = len(content)
        self._content = content[:found]
        self.reads: list[tuple[int, int]] = []

    def read_at(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        return self._content[offset : offset + size]


def file_forms(path: Path, open_file: IO[bytes]) -> Iterator[tuple[FileTypes, str, str]]:
    """Forms in which a file can be given, the name that is sent, and its type."""
    octets = "application/octet-stream"
    yield b"12345", "upload", octets
    yield io.BytesIO(b"12345"), "upload", octets
    yield path, "data.csv", "text/csv"
    yield open_file, "data.csv", "text/csv"
    yield (None, path), "data.csv", "text/csv"
    yield ("a.txt", b"12345"), "a.txt", "text/plain"
    yield ("a.txt", path), "a.txt", "text/plain"
    yield ("a.txt", open_file, "image/png"), "a.txt", "image/png"
    yield ("a.txt", b"12345", None), "a.txt", "text/plain"
    yield ("a.unknown", b"12345"), "a.unknown", octets
    yield Letters(b"12345"), "upload", octets
    yield ("a.txt", Letters(b"12345")), "a.txt", "text/plain"


def test_every_form_of_a_file(path: Path) -> None:
    with path.open("rb") as open_file:
        for file, name, content_type in file_forms(path, open_file):
            body = FormBody({}, file)
            headers = part_headers(body)
            assert received_name(headers["Content-Disposition"]) == name
            assert headers["Content-Type"] == content_type
            assert b"\r\n\r\n12345\r\n--" in b"".join(body)
            assert body.length == len(b"".join(body))


def test_a_part_may_have_headers_of_its_own() -> None:
    headers = part_headers(FormBody({}, ("a", b"x", "text/plain", {"content-type": "x/y", "X-Part": "1"})))
    assert headers["content-type"] == "x/y"
    assert headers["X-Part"] == "1"
    assert "Content-Type" not in headers


@pytest.mark.parametrize("file", ["a path as text", io.StringIO("text"), 7, None, ("a",), ("a", b"", None, {}, 5)])
def test_what_is_not_a_file_is_refused(client: Client, service: Service, file: FileTypes) -> None:
    with pytest.raises(TypeError, match="Expected"):
        client.files.create(file=file, purpose="user_data")
    assert service.requests == []


@pytest.mark.parametrize("sources", [{}, {"file": b"x", "file_id": "file-1"}])
def test_a_container_file_has_one_source(client: Client, service: Service, sources: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="exactly one of `file` and `file_id`"):
        client.containers.files.create("c", **sources)
    assert service.requests == []


def test_a_missing_path_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.files.create(file=tmp_path / "nothing", purpose="user_data")


@given(st.integers(0, 3), st.integers(-1, 1), st.dictionaries(st.text("abc", min_size=1), st.text(max_size=9)))
def test_the_length_is_exact(chunks: int, off: int, fields: dict[str, str]) -> None:
    size = max(0, chunks * CHUNK_SIZE + off)
    body = FormBody(fields, ("n", bytes(size)))
    assert body.length == sum(map(len, body))


def test_fields_come_before_the_file_and_objects_are_flattened() -> None:
    fields = {"purpose": "assistants", "expires_after": {"anchor": "created_at", "seconds": 3600}, "tags": ["a", "b"]}
    form = b"".join(FormBody(fields, b"x")).decode()
    wanted = ["purpose", "expires_after[anchor]", "expires_after[seconds]", "tags[]", "tags[]", "file"]
    assert [line.split('name="')[1].split('"')[0] for line in form.splitlines() if " name=" in line] == wanted


def test_fields_that_are_functions_follow_the_file() -> None:
    asked: list[int] = []
    body = FormBody({"a": lambda: f"after {asked}", "b": "before", "c": lambda: None}, ("n", Growing(b"12345", asked)))
    form = b"".join(body).decode()
    assert [line.split('name="')[1].split('"')[0] for line in form.splitlines() if " name=" in line] == [
        "b",
        "file",
        "a",
    ]
    assert form.partition("12345\r\n")[2].startswith("--")
    assert "\r\n\r\nafter [5]\r\n--" in form
    assert body.length is None


def test_json_is_as_the_sdk_sends_it() -> None:
    assert JsonBody({"name": "\u00e9", "n": [1, None, True]}).encoded == '{"name":"é","n":[1,null,true]}'.encode()


@pytest.mark.parametrize("size", [4, 6, 0])
def test_a_file_that_changes_size_meanwhile_fails_clearly(
    client: Client, service: Service, path: Path, size: int
) -> None:
    with ResizedWhenRead(path, size) as file, pytest.raises(containerfs.SourceChangedError) as raised:
        client.containers.files.create("c", file=("a", file))
    assert raised.value.announced == 5
    assert raised.value.found == (None if size > 5 else size)
    assert "had 5 bytes when the upload began" in str(raised.value)


class ResizedWhenRead(io.FileIO):
    """A file that somebody else changes just before its upload reads it."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path, "r+b")
        self._size = size

    def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        os.truncate(self.fileno(), self._size)
        return super().read(size)


def test_a_pipe_is_sent_in_chunks_for_its_length_is_unknown(client: Client, service: Service) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"12345")
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        client.containers.files.create("c", file=("a", pipe))
    assert "content-length" not in service.requests[0].headers
    assert b"\r\n\r\n12345\r\n--" in service.requests[0].body


def test_progress_counts_the_files_bytes(client: Client, service: Service) -> None:
    size = 2 * CHUNK_SIZE + 1
    seen: list[tuple[int, int | None]] = []
    client.containers.files.create("c", file=bytes(size), progress=lambda *sent: seen.append(sent))
    assert seen == [(0, size), (CHUNK_SIZE, size), (2 * CHUNK_SIZE, size), (size, size), (size, size)]


def test_async_progress_is_told_in_the_task_that_sends(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(CHUNK_SIZE + 1))
    seen: list[tuple[int, int | None]] = []

    def progress(sent: int, total: int | None) -> None:
        assert threading.current_thread() is threading.main_thread()
        seen.append((sent, total))

    async def upload() -> None:
        async with AsyncClient(base_url=service.url) as client:
            await client.files.create(file=path, purpose="user_data", progress=progress)

    asyncio.run(upload())
    assert [sent for sent, _ in seen] == [0, CHUNK_SIZE, CHUNK_SIZE + 1, CHUNK_SIZE + 1]
    assert bytes(CHUNK_SIZE + 1) in service.requests[0].body


def test_what_progress_raises_ends_the_upload(client: Client, service: Service) -> None:
    def stop(sent: int, total: int | None) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        client.containers.files.create("c", file=bytes(CHUNK_SIZE), progress=stop)
    assert client.containers.retrieve("c").id == "cntr_1"


def test_a_source_is_read_at_offsets_and_announced_with_its_length(client: Client, service: Service) -> None:
    content = bytes(range(256)) * 8192 + b"end"
    source = Letters(content)
    client.containers.files.create("c", file=("a", source))
    (request,) = service.requests
    assert int(request.headers["content-length"]) == len(request.body)
    assert b"\r\n\r\n" + content + b"\r\n--" in request.body
    assert source.reads == [(0, CHUNK_SIZE), (CHUNK_SIZE, CHUNK_SIZE), (2 * CHUNK_SIZE, 3)]


def test_a_source_is_read_again_for_a_retry(client: Client, service: Service, no_waiting: list[float]) -> None:
    service.replies(Reply(status=503))
    source = Letters(b"12345")
    client.containers.files.create("c", file=("a", source))
    assert source.reads == [(0, 5), (0, 5)]
    assert service.requests[0].body == service.requests[1].body


class Growing:
    """A source whose size is not known until all of it was read, as ``ended`` tells."""

    def __init__(self, content: bytes, ended: list[int]) -> None:
        self._content = content
        self.ended = ended

    @property
    def size(self) -> int | None:
        return self.ended[0] if self.ended else None

    def read_at(self, offset: int, size: int) -> bytes:
        read = self._content[offset : offset + size]
        if len(read) < size and not self.ended:
            self.ended.append(offset + len(read))
        return read


@pytest.mark.parametrize("size", [0, 5, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE])
def test_a_source_of_unknown_size_is_sent_in_chunks_to_its_end(client: Client, service: Service, size: int) -> None:
    source = Growing(bytes(size), [])
    client.containers.files.create("c", file=("a", source))
    (request,) = service.requests
    assert "content-length" not in request.headers
    assert b"\r\n\r\n" + bytes(size) + b"\r\n--" in request.body
    assert source.size == size


def test_a_source_of_unknown_size_is_read_again_for_a_retry(
    client: Client, service: Service, no_waiting: list[float]
) -> None:
    service.replies(Reply(status=503))
    client.containers.files.create("c", file=("a", Growing(b"12345", [])))
    assert [b"\r\n\r\n12345\r\n--" in request.body for request in service.requests] == [True, True]


def test_a_source_that_ends_early_fails_clearly(client: Client) -> None:
    with pytest.raises(containerfs.SourceChangedError) as raised:
        client.containers.files.create("c", file=("a", Letters(b"12345", found=3)))
    assert (raised.value.announced, raised.value.found) == (5, 3)


class Abandoned(Letters):
    def read_at(self, offset: int, size: int) -> bytes:
        if offset:
            raise InterruptedError
        return super().read_at(offset, size)


class AbandonedGrowing:
    size = None

    def read_at(self, offset: int, size: int) -> bytes:
        if offset:
            raise InterruptedError
        return bytes(size)


def test_an_abandoned_upload_in_chunks_has_neither_the_end_of_its_form_nor_the_last_chunk() -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        served = pool.submit(lambda: receive_all(listener, received))
        with Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1") as client:
            with pytest.raises(InterruptedError):
                client.containers.files.create("c", file=("a", AbandonedGrowing()))
            served.result(60)
    body = b"".join(received).partition(b"\r\n\r\n")[2]
    assert body.count(b"--\r\n") == 0
    assert body.endswith(bytes(1000) + b"\r\n")


def test_an_abandoned_upload_ends_its_connection_with_the_body_incomplete() -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        served = pool.submit(lambda: receive_all(listener, received))
        with Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1") as client:
            with pytest.raises(InterruptedError):
                client.containers.files.create("c", file=("a", Abandoned(bytes(CHUNK_SIZE + 1))))
            served.result(60)
    head, _, body = b"".join(received).partition(b"\r\n\r\n")
    (announced,) = re.findall(rb"content-length: (\d+)", head.lower())
    assert CHUNK_SIZE < len(body) < int(announced)


def receive_all(listener: socket.socket, received: list[bytes]) -> None:
    connection, _ = listener.accept()
    with connection:
        received.extend(iter(lambda: connection.recv(1 << 20), b""))


def test_async_sources_are_read_alike(service: Service) -> None:
    async def upload() -> None:
        async with AsyncClient(base_url=service.url) as client:
            await client.containers.files.create("c", file=("a", Letters(b"12345")))

    asyncio.run(upload())
    assert int(service.requests[0].headers["content-length"]) == len(service.requests[0].body)


def test_a_large_upload_holds_one_chunk() -> None:
    size = 256 << 20
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        body = FormBody({}, ("big", file))
        tracemalloc.start()
        try:
            sent = sum(map(len, body))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert sent == body.length
    assert peak < 4 * CHUNK_SIZE
