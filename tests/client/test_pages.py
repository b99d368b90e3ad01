"""Walking through listings, also those of services that get pagination wrong."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerfs import APIResponseValidationError, AsyncClient, Client, Container, ListPage
from containerfs.client.calls import Call, list_containers
from containerfs.client.coroutines import run
from containerfs.client.pages import SyncCursorPage
from tests.client.service import CONTAINER, Reply, Request, Service, page


def items(*ids: object) -> list[Mapping[str, object]]:
    return [{**CONTAINER, "id": str(id)} for id in ids]


def ids(client: Client) -> list[str]:
    return [container.id for container in client.containers.list(limit=2)]


def listing(*known: str) -> "dict[str | None, Reply]":
    """The pages of two that a well-behaved service gives, by their cursor."""
    pages = {}
    for start in range(0, len(known), 2):
        after = known[start - 1] if start else None
        pages[after] = page(items(*known[start : start + 2]), has_more=start + 2 < len(known))
    return pages


@pytest.fixture
def abcde(service: Service) -> Service:
    pages = listing(*"abcde")
    service.respond = lambda request: pages[dict(request.query).get("after")]
    return service


def test_iterating_crosses_pages_and_keeps_the_parameters(abcde: Service, client: Client) -> None:
    listed = client.containers.list(limit=2, order="asc", extra_query={"x": "y"}, extra_headers={"X-A": "b"})
    assert [container.id for container in listed] == list("abcde")
    assert [dict(request.query) for request in abcde.requests] == [
        {"limit": "2", "order": "asc", "x": "y"},
        {"limit": "2", "order": "asc", "x": "y", "after": "b"},
        {"limit": "2", "order": "asc", "x": "y", "after": "d"},
    ]
    assert {request.headers["x-a"] for request in abcde.requests} == {"b"}


def test_half_a_surrogate_pair_is_a_replacement_character(service: Service, client: Client) -> None:
    service.replies(page([{**CONTAINER, "name": "x\ud800y \\ud800 \U0001f600"}, {**CONTAINER, "id": "b", "name": "b"}]))
    assert [container.name for container in client.containers.list()] == ["x\ufffdy \\ud800 \U0001f600", "b"]


def test_nothing_is_fetched_before_it_is_needed(abcde: Service, client: Client) -> None:
    containers = iter(client.containers.list(limit=2))
    assert [next(containers).id, next(containers).id] == ["a", "b"]
    assert len(abcde.requests) == 1
    assert next(containers).id == "c"
    assert len(abcde.requests) == 2


def test_a_page_can_be_iterated_again(abcde: Service, client: Client) -> None:
    listed = client.containers.list()
    assert [container.id for container in listed] == [container.id for container in listed]


def test_going_page_by_page(abcde: Service, client: Client) -> None:
    first = client.containers.list(limit=2)
    assert (first.has_more, first.has_next_page(), first.last_id) == (True, True, "b")
    assert repr(first).startswith("SyncCursorPage(data=[Container(id='a'")
    info = first.next_page_info()
    assert info is not None
    assert info.params == {"after": "b"}
    second = first.get_next_page()
    assert isinstance(second, SyncCursorPage)
    assert [container.id for container in second.data] == ["c", "d"]
    assert [[container.id for container in each.data] for each in first.iter_pages()] == [["a", "b"], ["c", "d"], ["e"]]
    last = second.get_next_page()
    assert (last.has_more, last.has_next_page(), last.next_page_info()) == (False, False, None)
    with pytest.raises(RuntimeError, match="no next page"):
        last.get_next_page()


def test_async_pages(abcde: Service) -> None:
    async def walk() -> None:
        async with AsyncClient(base_url=abcde.url) as client:
            assert [container.id async for container in client.containers.list()] == list("abcde")
            assert [container.id async for container in await client.containers.list()] == list("abcde")
            first = await client.containers.list()
            assert first.has_more
            assert [container.id for container in (await first.get_next_page()).data] == ["c", "d"]
            assert [len(each.data) async for each in first.iter_pages()] == [2, 2, 1]

    asyncio.run(walk())


def test_nothing_is_sent_until_an_async_listing_is_awaited(abcde: Service) -> None:
    async def prepare() -> None:
        async with AsyncClient(base_url=abcde.url) as client:
            client.containers.list()

    asyncio.run(prepare())
    assert abcde.requests == []


def test_the_services_cursor_is_preferred_to_the_last_id(service: Service, client: Client) -> None:
    pages = {None: page(items("a"), has_more=True, last_id="cursor"), "cursor": page(items("b"))}
    service.respond = lambda request: pages[dict(request.query).get("after")]
    assert ids(client) == ["a", "b"]


def test_an_empty_page_in_between_is_passed(service: Service, client: Client) -> None:
    pages = {None: page([], has_more=True, last_id="cursor"), "cursor": page(items("b"))}
    service.respond = lambda request: pages[dict(request.query).get("after")]
    assert ids(client) == ["b"]


def test_an_empty_page_that_leads_nowhere_ends_the_walk(service: Service, client: Client) -> None:
    service.respond = lambda _: page([], has_more=True)
    assert ids(client) == []
    assert len(service.requests) == 1


def test_a_cursor_that_stays_the_same_ends_the_walk(service: Service, client: Client) -> None:
    service.respond = lambda _: page([], has_more=True, last_id="cursor")
    assert ids(client) == []
    assert len(service.requests) == 2


def test_empty_pages_with_fresh_cursors_are_an_error_at_last(service: Service, client: Client) -> None:
    service.respond = lambda _: page([], has_more=True, last_id=str(len(service.requests)))
    with pytest.raises(APIResponseValidationError, match="empty pages without end"):
        ids(client)


def test_many_empty_pages_in_between_are_passed(service: Service, client: Client) -> None:
    def respond(_: Request) -> Reply:
        count = len(service.requests)
        return page(items("z")) if count == 200 else page([], has_more=True, last_id=str(count))

    service.respond = respond
    assert ids(client) == ["z"]


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_pages_that_come_round_under_fresh_cursors_end(service: Service, client: Client, length: int) -> None:
    def respond(_: Request) -> Reply:
        count = len(service.requests)
        return page(items(f"i{count % length}"), has_more=True, last_id=str(count))

    service.respond = respond
    assert set(ids(client)) == {f"i{number}" for number in range(length)}


@pytest.mark.parametrize("has_more", [True, None])
def test_the_same_page_for_ever_is_listed_once(service: Service, client: Client, has_more: bool | None) -> None:
    service.respond = lambda _: page(items("a", "b"), has_more=has_more)
    assert ids(client) == ["a", "b"]
    assert len(service.requests) == 2


def test_has_more_may_be_missing(service: Service, client: Client) -> None:
    pages = {None: page(items("a", "b"), has_more=None), "b": page(items("c"), has_more=None)}
    service.respond = lambda request: pages.get(dict(request.query).get("after")) or page([], has_more=None)
    first = client.containers.list()
    assert first.has_more is True
    assert [container.id for container in first] == ["a", "b", "c"]
    assert len(service.requests) == 3


def test_ids_of_any_alphabet_are_cursors(service: Service, client: Client) -> None:
    odd = "a/b?c=d&e #%2F\u00e9" + "x" * 237
    service.respond = lambda request: page(items("z")) if request.query else page(items(odd), has_more=True)
    assert [container.id for container in client.containers.list()] == [odd, "z"]
    assert dict(service.requests[1].query)["after"] == odd


@st.composite
def arbitrary_services(draw: st.DrawFn) -> dict[str | None, ListPage[Container]]:
    """A service that answers each cursor with any page at all, sensible or not."""
    names = st.sampled_from("abcdef")
    pages = st.builds(
        lambda ids, more, last: ListPage[Container](data=[Container(id=id) for id in ids], has_more=more, last_id=last),
        st.lists(names, max_size=3),
        st.sampled_from([True, False, None]),
        st.none() | names,
    )
    return {cursor: draw(pages) for cursor in [None, *"abcdef"]}


def cursor_of(call: Call[ListPage[Container]]) -> str | None:
    after = (call.options.get("extra_query") or {}).get("after")
    return None if after is None else str(after)


@given(arbitrary_services())
def test_every_walk_ends(pages: dict[str | None, ListPage[Container]]) -> None:
    fetched: list[str | None] = []

    async def fetch(call: Call[ListPage[Container]]) -> ListPage[Container]:
        fetched.append(cursor_of(call))
        return pages[fetched[-1]]

    call = list_containers()
    seen = [container.id for container in SyncCursorPage(run(fetch(call)), call, fetch)]
    assert len(fetched) == len(set(fetched))
    assert set(seen) <= {item.id for listed in pages.values() for item in listed.data}


@given(st.integers(0, 60), st.integers(1, 100), st.sampled_from([True, None]))
def test_a_sound_service_is_listed_whole_and_in_order(count: int, limit: int, more: bool | None) -> None:
    known = [str(number) for number in range(count)]

    async def fetch(call: Call[ListPage[Container]]) -> ListPage[Container]:
        cursor = cursor_of(call)
        start = 0 if cursor is None else known.index(cursor) + 1
        data = [Container(id=id) for id in known[start : start + limit]]
        return ListPage[Container](data=data, has_more=more and start + limit < count)

    call = list_containers(limit=limit)
    assert [item.id for item in SyncCursorPage(run(fetch(call)), call, fetch)] == known


def test_requests_are_as_many_as_there_are_pages(service: Service, client: Client) -> None:
    def respond(request: Request) -> Reply:
        query = dict(request.query)
        start = int(query.get("after", "-1")) + 1
        end = start + int(query["limit"])
        return page(items(*range(start, min(end, 250))), has_more=end < 250)

    service.respond = respond
    assert len(list(client.containers.list(limit=100))) == 250
    assert len(service.requests) == 3
