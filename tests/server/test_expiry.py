"""Expiry: when a container ceases to exist, what keeps it alive, and what becomes of its bytes."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import httpx
import pytest

from containerfs.server.service import ANSWERS_KEPT_S
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.open import Stores
from containerfs.server.storage.records import Removal
from containerfs.server.sweeper import CURSORS_KEPT_S, Sweeper
from tests.server.conftest import answered, contents_in, create, refused
from tests.server.hosted import Clock, application, hosted, opened
from tests.server.test_large_containers import fill

T = TypeVar("T")

IDLE = {"anchor": "last_active_at", "minutes": 20}
FIXED = {"anchor": "created_at", "days": 1}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    with opened(tmp_path) as opening:
        yield opening


@pytest.fixture
def http(stores: Stores, clock: Clock) -> Iterator[httpx.Client]:
    with hosted(application(stores, clock)) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def sweep(stores: Stores, clock: Clock) -> Callable[[], None]:
    """A sweep as another server on the same store makes it."""
    return lambda: asyncio.run(Sweeper(stores, clock=clock).sweep())


def put(http: httpx.Client, container: str, name: str = "f", content: bytes = b"x") -> dict[str, Any]:
    return answered(http.post(f"/containers/{container}/files", files={"file": (name, content)}))


def test_an_expired_container_is_gone_at_once_and_its_bytes_after_the_sweep(
    http: httpx.Client, clock: Clock, tmp_path: Path, sweep: Callable[[], None]
) -> None:
    container, staying = create(http, expires_after=FIXED)["id"], create(http)["id"]
    put(http, container)
    put(http, staying)
    clock.now += 86399
    answered(http.get(f"/containers/{container}"))
    clock.now += 1
    refused(http.get(f"/containers/{container}"), 404)
    refused(http.get(f"/containers/{container}/files"), 404)
    refused(http.delete(f"/containers/{container}"), 404)
    refused(http.post(f"/containers/{container}/files", files={"file": ("g", b"")}), 404)
    assert [item["id"] for item in answered(http.get("/containers"))["data"]] == [staying]
    assert len(contents_in(tmp_path)) == 2
    sweep()
    assert len(contents_in(tmp_path)) == 1
    assert answered(http.get(f"/containers/{staying}"))["file_count"] == 1


ACTIVE: list[Callable[[httpx.Client, str, str], httpx.Response]] = [
    lambda http, container, file: http.post(f"/containers/{container}/files", files={"file": ("new", b"")}),
    lambda http, container, file: http.post(f"/containers/{container}/files", json={"file_id": file, "path": "copy"}),
    lambda http, container, file: http.get(f"/containers/{container}/files/{file}/content"),
    lambda http, container, file: http.delete(f"/containers/{container}/files/{file}"),
]

PASSIVE: list[Callable[[httpx.Client, str, str], httpx.Response]] = [
    lambda http, container, file: http.get(f"/containers/{container}"),
    lambda http, container, file: http.get("/containers"),
    lambda http, container, file: http.get(f"/containers/{container}/files"),
    lambda http, container, file: http.get(f"/containers/{container}/files/{file}"),
]


@pytest.mark.parametrize(("act", "extends"), [(act, True) for act in ACTIVE] + [(act, False) for act in PASSIVE])
@pytest.mark.parametrize("rule", [IDLE, FIXED])
def test_what_counts_as_activity(
    http: httpx.Client, clock: Clock, act: Callable[..., httpx.Response], extends: bool, rule: dict[str, object]
) -> None:
    container = create(http, expires_after=rule)
    file = put(http, container["id"])["id"]
    clock.now += 600
    assert act(http, container["id"], file).status_code == 200
    after = answered(http.get(f"/containers/{container['id']}"))
    moved = after["expires_at"] - container["expires_at"]
    assert moved == (600 if extends and rule is IDLE else 0)


def test_reads_close_together_are_recorded_once(http: httpx.Client, clock: Clock) -> None:
    container = create(http, expires_after=IDLE)["id"]
    content = f"/containers/{container}/files/{put(http, container)['id']}/content"
    seen = []
    for _ in range(4):
        clock.now += 5
        assert http.get(content).status_code == 200
        seen.append(answered(http.get(f"/containers/{container}"))["last_active_at"] - clock.now)
    assert seen == [-5, 0, -5, 0]


def test_an_expired_file_is_gone_and_its_copies_stay(
    http: httpx.Client, clock: Clock, tmp_path: Path, sweep: Callable[[], None]
) -> None:
    rule = {"purpose": "x", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = answered(http.post("/files", files={"file": ("f", b"x")}, data=rule))["id"]
    container = create(http, file_ids=[file])["id"]
    clock.now += 3600
    refused(http.get(f"/files/{file}"), 404, "id")
    refused(http.post("/containers", json={"name": "a", "file_ids": [file]}), 404, "file_ids")
    assert answered(http.get("/files"))["data"] == []
    sweep()
    assert http.get(f"/containers/{container}/files/{file}/content").content == b"x"
    answered(http.delete(f"/containers/{container}"))
    assert contents_in(tmp_path) == set()


def test_a_sweep_lets_others_write_in_between(http: httpx.Client, clock: Clock, stores: Stores, tmp_path: Path) -> None:
    container = create(http, expires_after=FIXED)["id"]
    fill(tmp_path, container, 1000)
    for number in range(3):
        put(http, create(http, expires_after=FIXED)["id"], str(number))
    clock.now += 86400
    write, removed = stores.metadata.write, []

    async def counted(work: Callable[[Transaction], T], *, frees: bool = False) -> T:
        result = await write(work, frees=frees)
        if isinstance(result, Removal):
            removed.append(result.rows)
        return result

    with mock.patch.object(stores.metadata, "write", counted):
        asyncio.run(Sweeper(stores, clock=clock, transaction_s=0).sweep())
    assert sum(removed) >= 1004
    assert max(removed) <= 100
    assert contents_in(tmp_path) == set()


def test_cursors_and_answers_are_forgotten_in_the_end(
    http: httpx.Client, clock: Clock, sweep: Callable[[], None]
) -> None:
    ids = [create(http)["id"] for _ in range(3)]
    once = {"idempotency-key": "k"}
    first = answered(http.post("/containers", json={"name": "once"}, headers=once))
    answered(http.delete(f"/containers/{ids[1]}"))
    clock.now += CURSORS_KEPT_S
    sweep()
    page = answered(http.get("/containers", params={"after": ids[1], "order": "asc"}))
    assert [item["id"] for item in page["data"]] == [ids[2], first["id"]]
    assert answered(http.post("/containers", json={"name": "once"}, headers=once)) == first
    clock.now += 1
    assert CURSORS_KEPT_S == ANSWERS_KEPT_S
    sweep()
    refused(http.get("/containers", params={"after": ids[1]}), 400, "after")
    assert answered(http.post("/containers", json={"name": "once"}, headers=once))["id"] != first["id"]
