"""A program that uses every method of both clients, for the type checker."""

import io
from pathlib import Path
from typing import assert_type

import containerfs
from containerfs import (
    NOT_GIVEN,
    AsyncClient,
    AsyncContent,
    AsyncCursorPage,
    Client,
    Container,
    ContainerExpiry,
    ContainerFile,
    Content,
    ContentInfo,
    Deletion,
    File,
    SyncCursorPage,
    Timeout,
    omit,
)


def progress(sent: int, total: int | None) -> None:
    print(sent, total)


def containers(client: Client) -> None:
    container = client.containers.create(
        name="n",
        expires_after={"anchor": "created_at", "days": 7},
        file_ids=["file-1"],
        memory_limit="1g",
        network_policy={"type": "allowlist", "allowed_domains": ["example.org"]},
        skills=[{"type": "skill_reference", "skill_id": "s"}],
        extra_headers={"X-A": "b", "X-B": omit},
        extra_query={"a": [1, 2]},
        extra_body={"b": None},
        timeout=Timeout(60, connect=5),
    )
    assert_type(container, Container)
    expiry: ContainerExpiry = {"anchor": "last_active_at", "minutes": 20}
    client.containers.create(name="n", expires_after=expiry, network_policy={"type": "disabled"})
    assert_type(client.containers.retrieve(container.id, timeout=None), Container)
    page = client.containers.list(after=omit, limit=10, order="asc", name="n", timeout=NOT_GIVEN)
    assert_type(page, SyncCursorPage[Container])
    assert_type([each.name for each in page], list[str])
    assert_type([len(each.data) for each in page.iter_pages()], list[int])
    assert_type(page.has_more and page.has_next_page(), bool)
    assert_type(page.get_next_page(), SyncCursorPage[Container])
    client.containers.delete(container_id=container.id)


def container_files(client: Client, path: Path) -> None:
    files = client.containers.files
    for source in (path, path.open("rb"), io.BytesIO(b"x"), b"x"):
        assert_type(files.create("c", file=source, progress=progress), ContainerFile)
        files.create(container_id="c", file=("name", source))
        files.create("c", file=("name", source, "text/plain"))
        files.create("c", file=("name", source, None, {"X-Part": "1"}))
    assert_type(files.create("c", file_id="file-1"), ContainerFile)
    assert_type(files.retrieve("c", "f"), ContainerFile)
    assert_type(files.retrieve(container_id="c", file_id="f"), ContainerFile)
    assert_type(files.retrieve("f", container_id="c", timeout=1), ContainerFile)
    assert_type([file.bytes for file in files.list("c", limit=1)], list[int | None])
    files.delete("c", "f")
    files.delete(file_id="f", container_id="c")


def contents(client: Client, path: Path) -> None:
    with client.containers.files.content.retrieve(
        "f", container_id="c", extra_headers={"Range": "bytes=0-"}
    ) as content:
        assert_type(content, Content)
        assert_type(content.content_length, int | None)
        assert_type([len(chunk) for chunk in content.iter_bytes(chunk_size=8192)], list[int])
        assert_type(content.read(), bytes)
        assert_type(content.text, str)
        content.write_to_file(path)
    assert_type(client.containers.files.content.head("f", container_id="c"), ContentInfo)


def files(client: Client) -> None:
    file = client.files.create(
        file=b"x", purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}, progress=progress
    )
    assert_type(file, File)
    assert_type(client.files.retrieve(file.id), File)
    assert_type([each.filename for each in client.files.list(purpose="assistants", order="desc")], list[str])
    assert_type(client.files.content(file.id), Content)
    assert_type(client.files.delete(file.id), Deletion)


async def in_async(client: AsyncClient, path: Path) -> None:
    container = await client.containers.create(name="n")
    assert_type(container, Container)
    assert_type(await client.containers.retrieve(container.id), Container)
    assert_type(await client.containers.list(limit=10), AsyncCursorPage[Container])
    assert_type([each.name async for each in client.containers.list()], list[str])
    assert_type(await client.containers.files.create("c", file=path, progress=progress), ContainerFile)
    assert_type(await client.containers.files.retrieve("c", "f"), ContainerFile)
    assert_type(await client.containers.files.retrieve("f", container_id="c"), ContainerFile)
    async for file in await client.containers.files.list("c"):
        assert_type(file, ContainerFile)
    await client.containers.files.delete("c", "f")
    async with await client.containers.files.content.retrieve("f", container_id="c") as content:
        assert_type(content, AsyncContent)
        assert_type([len(chunk) async for chunk in content.iter_bytes(8192)], list[int])
        assert_type(await content.read(), bytes)
        await content.write_to_file(path)
    assert_type(await client.containers.files.content.head("f", container_id="c"), ContentInfo)
    assert_type(await client.files.create(file=b"x", purpose="assistants"), File)
    assert_type(await client.files.retrieve("f"), File)
    assert_type([each.id async for each in client.files.list()], list[str])
    assert_type(await client.files.content("f"), AsyncContent)
    assert_type(await client.files.delete("f"), Deletion)
    await client.containers.delete(container.id)


def errors(client: Client) -> str | None:
    try:
        client.containers.retrieve("c")
    except containerfs.RateLimitError as error:
        return error.request_id
    except containerfs.APIStatusError as error:
        return f"{error.status_code} {error.code} {error.message}"
    except containerfs.APIConnectionError:
        return None
    return ""


def raw(client: Client, aclient: AsyncClient) -> None:
    assert_type(client.containers.with_raw_response.retrieve("c").parse(), Container)
    assert_type(client.with_raw_response.containers.files.retrieve("c", "f").parse(), ContainerFile)
    assert_type(client.containers.with_raw_response.files.create("c", file=b"").parse(), ContainerFile)
    assert_type(client.files.with_raw_response.list().parse(), SyncCursorPage[File])
    assert_type(client.containers.files.content.with_raw_response.retrieve("f", container_id="c").parse(), Content)
    with client.containers.with_streaming_response.delete("c") as response:
        assert_type(response.parse(), None)
    with client.with_streaming_response.files.content("f") as content:
        assert_type(content.parse(), Content)
        assert_type(content.read(timeout=3), bytes)


async def raw_in_async(client: AsyncClient) -> None:
    assert_type((await client.containers.with_raw_response.retrieve("c")).parse(), Container)
    assert_type((await client.files.with_raw_response.list()).parse(), AsyncCursorPage[File])
    async with client.containers.files.with_streaming_response.retrieve("c", "f") as response:
        assert_type(await response.parse(), ContainerFile)
    async with client.with_streaming_response.files.content("f") as content:
        assert_type(await content.parse(), AsyncContent)
        assert_type(await content.text(), str)
