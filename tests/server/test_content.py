"""Content: whole, in ranges, on conditions."""

import asyncio
import contextlib
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerfs.server.downloads import Span, Turns, UnsatisfiableRange, requested_span
from tests.server.conftest import LARGE, answered, blobs_in, create, refused
from tests.server.live import running_server
from tests.server.raw import connect
from tests.server.test_operations import resident_peak

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def url(container: str, upload: Callable[..., Any]) -> str:
    return f"/containers/{container}/files/{upload('data.csv', CONTENT)['id']}/content"


def test_the_whole(http: httpx.Client, url: str) -> None:
    response = http.get(url)
    assert response.content == CONTENT
    assert response.headers["content-length"] == str(len(CONTENT))
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-type"] == "text/csv"
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''data.csv"
    assert not response.headers["etag"].startswith("W/")


def test_head_is_get_without_the_bytes(http: httpx.Client, url: str) -> None:
    head, get = http.head(url), http.get(url)
    assert head.content == b""
    changing = ("x-request-id", "date")
    assert [item for item in head.headers.items() if item[0] not in changing] == [
        item for item in get.headers.items() if item[0] not in changing
    ]
    assert http.head(url, headers={"range": "bytes=0-9"}).headers["content-length"] == "10"
    assert http.get(url).content == CONTENT


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=2000-", (2000, 2048)),
        ("bytes=-5", (2043, 2048)),
        ("bytes=-9999", (0, 2048)),
        ("bytes=2040-99999", (2040, 2048)),
    ],
)
def test_a_range(http: httpx.Client, url: str, asked: str, span: tuple[int, int]) -> None:
    response = http.get(url, headers={"range": asked})
    assert response.status_code == 206
    assert response.content == CONTENT[slice(*span)]
    assert response.headers["content-range"] == f"bytes {span[0]}-{span[1] - 1}/2048"


@pytest.mark.parametrize("asked", ["bytes=2048-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_after_the_end(http: httpx.Client, url: str, asked: str) -> None:
    response = http.get(url, headers={"range": asked})
    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */2048"


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=5-2", "lines=1-2", "bytes=", "bytes=-", "x", "bytes=a-b"])
def test_a_range_that_is_not_understood_is_ignored(http: httpx.Client, url: str, asked: str) -> None:
    response = http.get(url, headers={"range": asked})
    assert response.status_code == 200
    assert response.content == CONTENT


def test_conditions(http: httpx.Client, url: str) -> None:
    etag = http.get(url).headers["etag"]
    for tags in (etag, f'"other", {etag}', "*", f"W/{etag}"):
        unchanged = http.get(url, headers={"if-none-match": tags})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    assert http.get(url, headers={"if-none-match": '"other"'}).status_code == 200
    assert http.get(url, headers={"range": "bytes=0-1", "if-range": etag}).status_code == 206
    for other in ('"other"', f"W/{etag}", "Sun, 06 Nov 1994 08:49:37 GMT"):
        assert http.get(url, headers={"range": "bytes=0-1", "if-range": other}).status_code == 200


def test_an_empty_file(http: httpx.Client, container: str, upload: Callable[..., Any]) -> None:
    url = f"/containers/{container}/files/{upload('empty', b'')['id']}/content"
    response = http.get(url)
    assert (response.status_code, response.content, response.headers["content-length"]) == (200, b"", "0")
    assert http.get(url, headers={"range": "bytes=0-"}).status_code == 416


def test_types_come_from_names_and_never_from_content(
    http: httpx.Client, container: str, upload: Callable[..., Any]
) -> None:
    for name, kind in (
        ("a.html", "text/html"),
        ("page", "application/octet-stream"),
        ("a.tar.gz", "application/octet-stream"),
    ):
        file = upload(name, b"<html><script>")
        response = http.get(f"/containers/{container}/files/{file['id']}/content")
        assert response.headers["content-type"] == kind
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-disposition"].startswith("attachment")


def test_the_content_of_a_file(http: httpx.Client) -> None:
    file = answered(http.post("/files", files={"file": ("a/b.txt", CONTENT)}, data={"purpose": "x"}))
    response = http.get(f"/files/{file['id']}/content", headers={"range": "bytes=1-2"})
    assert response.content == CONTENT[1:3]
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''b.txt"


@given(first=st.none() | st.integers(0, 40), last=st.none() | st.integers(0, 40), size=st.integers(0, 30))
def test_a_span_is_what_python_would_slice(first: int | None, last: int | None, size: int) -> None:
    """Against the plain reading of RFC 9110: the bytes whose positions lie in the range."""
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is None:
        wanted = [] if last is None else list(range(max(0, size - last), size))
    else:
        wanted = [position for position in range(size) if first <= position and (last is None or position <= last)]
    ignored = (first is None and last is None) or (first is not None and last is not None and last < first)
    if ignored:
        assert requested_span(header, size) is None
    elif not wanted:
        with pytest.raises(UnsatisfiableRange):
            requested_span(header, size)
    else:
        assert requested_span(header, size) == Span(wanted[0], wanted[-1] + 1)


def test_a_content_that_the_store_has_lost_is_told_of_in_the_log(tmp_path: Path) -> None:
    with running_server(tmp_path / "store") as server, httpx.Client(base_url=server.base_url) as http:
        path = f"/containers/{create(http)['id']}/files"
        files = [answered(http.post(path, files={"file": (name, LARGE)}))["id"] for name in "ab"]
        published = answered(http.post("/files", files={"file": LARGE}, data={"purpose": "x"}))["id"]
        lost = blobs_in(server.data_dir)
        for blob in lost:
            blob.unlink()
        for url in (*(f"{path}/{file}/content" for file in files), f"/files/{published}/content"):
            refused(http.get(url), 404)
        answered(http.delete(f"{path}/{files[0]}"))
        refused(http.get(f"{path}/{files[0]}/content"), 404)
        log = server.log.read_text()
    assert [log.count(blob.name) for blob in lost] == [1, 1, 1]
    assert "Traceback" not in log


def test_nothing_more_is_read_for_a_client_that_has_left(tmp_path: Path) -> None:
    size = 256 * 1024 * 1024
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(size)
    with running_server(tmp_path / "store") as server, httpx.Client(base_url=server.base_url) as http:
        container = create(http)["id"]
        with large.open("rb") as file:
            id = answered(http.post(f"/containers/{container}/files", files={"file": file}))["id"]
        with http.stream("GET", f"/containers/{container}/files/{id}/content") as response:
            next(response.iter_raw())
        pattern = r'containerfs_sent_bytes_total{method="GET",route="[^"]*/content"} (.+)'
        while not (sent := re.findall(pattern, httpx.get(server.root_url + "/metrics").text)):
            pass  # counted when the server is done with it
        assert float(sent[0]) < size / 2


def test_contents_take_turns_with_all_else() -> None:
    """However many clients are ready for more, one piece is sent in one turn of the event loop."""
    sent = 0

    async def send(turns: Turns) -> None:
        nonlocal sent
        with turns.sending():
            for _ in range(3):
                await turns.next()
                sent += 1

    async def scenario() -> list[int]:
        turns = Turns()
        sending = [asyncio.create_task(send(turns)) for _ in range(100)]
        seen = [0]
        while not all(task.done() for task in sending):
            await asyncio.sleep(0)
            seen.append(sent)
        return seen

    seen = asyncio.run(scenario())
    assert seen[-1] == 300
    assert max(after - before for before, after in pairwise(seen)) == 1


def test_many_readers_share_the_memory_that_one_may_have(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "store") as server,
        httpx.Client(base_url=server.base_url, timeout=60) as http,
        contextlib.ExitStack() as stack,
    ):
        files = f"/containers/{create(http)['id']}/files"
        large = answered(http.post(files, files={"file": ("large", b"x" * 16 * 1024 * 1024)}))["id"]
        status = Path(f"/proc/{server.process.pid}/status")
        before = resident_peak(status)
        readers = [stack.enter_context(connect(server)) for _ in range(100)]
        for reader in readers:
            reader.send(f"GET /v1{files}/{large}/content HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        for _ in range(20):
            for reader in readers:
                assert reader.stream.recv(50_000)
        assert resident_peak(status) - before < 64 * 1024
