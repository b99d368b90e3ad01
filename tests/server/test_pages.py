"""Listings: pages neither skip nor repeat, whatever happens between them."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containerfs.server.service import files
from tests.server.conftest import answered, create, refused
from tests.server.hosted import Clock, application, hosted, opened


def pages(http: httpx.Client, path: str, **params: Any) -> Iterator[list[str]]:
    """The ids of each page."""
    while True:
        page = answered(http.get(path, params=params))
        assert page["object"] == "list"
        ids = [item["id"] for item in page["data"]]
        assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        yield ids
        if not page["has_more"]:
            return
        params["after"] = page["last_id"]


def test_newest_first_unless_asked_otherwise(http: httpx.Client, container: str, upload: Callable[..., Any]) -> None:
    ids = [upload(f"{number}")["id"] for number in range(7)]
    path = f"/containers/{container}/files"
    assert list(pages(http, path)) == [ids[::-1]]
    assert list(pages(http, path, limit=3, order="asc")) == [ids[:3], ids[3:6], ids[6:]]
    assert list(pages(http, path, limit=7, order="desc")) == [ids[::-1]]


def test_the_default_is_twenty(http: httpx.Client) -> None:
    for _ in range(21):
        create(http, name="many")
    assert [len(page) for page in pages(http, "/containers", name="many")] == [20, 1]


def test_an_empty_page(http: httpx.Client, container: str) -> None:
    assert answered(http.get(f"/containers/{container}/files")) == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1.5", "9" * 30])
def test_a_limit_out_of_range(http: httpx.Client, container: str, limit: str) -> None:
    for path in ("/containers", f"/containers/{container}/files"):
        refused(http.get(path, params={"limit": limit}), 400, "limit")
    refused(http.get("/files", params={"limit": "10001" if limit == "101" else limit}), 400, "limit")


def test_a_large_page_is_read_in_parts_and_is_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LISTED_AT_ONCE", 2)
    with opened(tmp_path) as stores, hosted(application(stores, Clock())) as url, httpx.Client(base_url=url) as client:
        uploads = (client.post("/files", files={"file": str(n).encode()}, data={"purpose": "x"}) for n in range(7))
        ids = [answered(each)["id"] for each in uploads]
        assert list(pages(client, "/files")) == [ids[::-1]]
        assert list(pages(client, "/files", limit=5, order="asc", purpose="x")) == [ids[:5], ids[5:]]
        assert list(pages(client, "/files", limit=7)) == [ids[::-1]]
        assert list(pages(client, "/files", limit=6)) == [ids[:0:-1], ids[:1]]
        refused(client.get("/files", params={"after": "nope"}), 400, "after")


def test_pages_of_files_are_larger(http: httpx.Client) -> None:
    assert answered(http.get("/files", params={"limit": "10000"}))["object"] == "list"


@given(cursor=st.text(min_size=1, max_size=80))
@settings(max_examples=40)
def test_a_cursor_that_names_nothing(http: httpx.Client, container: str, cursor: str) -> None:
    for path in ("/containers", f"/containers/{container}/files", "/files"):
        refused(http.get(path, params={"after": cursor}), 400, "after")


def test_bad_orders_and_cursors_of_other_listings(http: httpx.Client, container: str) -> None:
    other = create(http)["id"]
    elsewhere = answered(http.post(f"/containers/{other}/files", files={"file": ("a", b"")}))["id"]
    refused(http.get("/containers", params={"order": "up"}), 400, "order")
    for cursor in (elsewhere, container, ""):
        refused(http.get(f"/containers/{container}/files", params={"after": cursor}), 400, "after")


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_deleting_and_replacing_what_the_cursor_points_to(
    http: httpx.Client, container: str, upload: Callable[..., Any], order: str
) -> None:
    """A client that deletes each page as it goes still sees every file once."""
    ids = {upload(f"{number}")["id"] for number in range(9)}
    seen: list[str] = []
    for page in pages(http, f"/containers/{container}/files", limit=2, order=order):
        seen += page
        for id in page:
            answered(http.delete(f"/containers/{container}/files/{id}"))
        if order == "desc":
            upload("new")  # comes before the first page, and replaces itself
    assert len(seen) == len(set(seen)) == 9
    assert set(seen) == ids


def test_containers_and_files_can_be_deleted_under_a_listing_too(http: httpx.Client) -> None:
    containers = {create(http, name="going")["id"] for _ in range(5)}
    seen = []
    for page in pages(http, "/containers", name="going", limit=2):
        seen += page
        for id in page:
            answered(http.delete(f"/containers/{id}"))
    assert set(seen) == containers
    files = {
        answered(http.post("/files", files={"file": ("f", b"")}, data={"purpose": "going"}))["id"] for _ in range(5)
    }
    seen = []
    for page in pages(http, "/files", purpose="going", limit=2):
        seen += page
        for id in page:
            answered(http.delete(f"/files/{id}"))
    assert set(seen) == files


@given(seed=st.integers(0, 10**6), limit=st.integers(1, 7), order=st.sampled_from(["asc", "desc"]))
@settings(max_examples=10)
def test_what_stays_throughout_is_seen_exactly_once(http: httpx.Client, seed: int, limit: int, order: str) -> None:
    choose = random.Random(seed)
    container = create(http)["id"]
    path = f"/containers/{container}/files"

    def add(name: str) -> str:
        return str(answered(http.post(path, files={"file": (name, b"")}))["id"])

    staying = {add(f"s{number}") for number in range(6)}
    going = [add(f"g{number}") for number in range(6)]
    seen: list[str] = []
    for number, page in enumerate(pages(http, path, limit=limit, order=order)):
        seen += page
        if going and choose.random() < 0.7:
            answered(http.delete(f"{path}/{going.pop(choose.randrange(len(going)))}"))
        if number < 4:
            add(f"n{number}")
    assert len(seen) == len(set(seen))
    assert staying <= set(seen)
