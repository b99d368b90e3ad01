"""The same calls through the ``openai`` SDK and through ours: equivalent on the wire, equal in what they return.

The SDK is a client written by others from the published spec; both talk to one recording service.
"""

import asyncio
import inspect
import json
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from email.parser import BytesParser
from io import BytesIO
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from containerfs import AsyncClient, Client
from tests.client.service import CONTENT, Request, Service

AnyClient = Any  # one of the four, which share no type

OF_NO_MATTER = {
    "user-agent": "who is asking",
    "content-length": "multipart bodies differ in the length of their boundaries; that it is there is compared",
    "idempotency-key": "only ours: a service can tell a retry from a second request by it; compared apart",
    "accept-encoding": "ours wants contents as they are",
}
"""Headers in which the clients may differ, besides ``x-stainless-*``, by which the SDK describes its machine."""


@dataclass(frozen=True)
class Case:
    """A call that both clients can make, by the path of its method and its arguments."""

    method: str
    args: tuple[object, ...] = ()
    kwargs: dict[str, object] = field(default_factory=dict)

    def __call__(self, client: AnyClient) -> Any:
        bound = client
        for name in self.method.split("."):
            bound = getattr(bound, name)
        return bound(*self.args, **self.kwargs)

    def __str__(self) -> str:
        return f"{self.method}({', '.join([*map(repr, self.args), *self.kwargs])})"[:70]


def case(method: str, *args: object, **kwargs: object) -> Case:
    return Case(method, args, kwargs)


EXTRAS = {"extra_headers": {"X-Extra": "1"}, "extra_query": {"deep": {"a": [1, True]}, "b": "\u00e9 &"}, "timeout": 9}

CASES = [
    case("containers.create", name="n"),
    case("containers.create", name="\u00fc", file_ids=["file-1"], expires_after={"anchor": "created_at", "days": 7}),
    case("containers.create", name="n", memory_limit="4g", network_policy={"type": "disabled"}, skills=[]),
    case("containers.create", name="n", extra_body={"more": 1}, **EXTRAS),
    case("containers.retrieve", "cntr_1"),
    case("containers.retrieve", container_id="a/b c%2F?#\u00e9", **EXTRAS),
    case("containers.list"),
    case("containers.list", limit=10, order="asc", after="x/y", name="a b", **EXTRAS),
    case("containers.delete", "cntr_1"),
    case("containers.delete", "cntr_1", **EXTRAS),
    case("containers.delete", "cntr_1", extra_body={"why": "old"}),
    case("containers.files.create", "cntr_1", file=("a.txt", b"hello")),
    case("containers.files.create", container_id="cntr_1", file=b"hello"),
    case("containers.files.create", "cntr_1", file=("d/\u00e9 '.csv", b"hello", "x/y", {"X-Part": "1"}), **EXTRAS),
    case("containers.files.create", "cntr_1", file=("a.txt", b""), extra_body={"more": "1"}),
    case("containers.files.create", "cntr_1", file_id="file-1"),
    case("containers.files.create", "cntr_1", file_id="file-1", **EXTRAS),
    case("containers.files.retrieve", "cfile_1", container_id="cntr_1"),
    case("containers.files.retrieve", container_id="cntr_1", file_id="cfile_1", **EXTRAS),
    case("containers.files.list", "cntr_1"),
    case("containers.files.list", container_id="cntr_1", limit=1, order="desc", after="a", **EXTRAS),
    case("containers.files.delete", "cfile_1", container_id="cntr_1"),
    case("containers.files.delete", file_id="cfile_1", container_id="cntr_1", **EXTRAS),
    case("containers.files.content.retrieve", "cfile_1", container_id="cntr_1"),
    case("containers.files.content.retrieve", "cfile_1", container_id="c", extra_headers={"Range": "bytes=1-2"}),
    case("files.create", file=("a.txt", b"hello"), purpose="assistants"),
    case(
        "files.create",
        file=("a.txt", b"hello"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
        **EXTRAS,
    ),
    case("files.retrieve", "file-1", **EXTRAS),
    case("files.list"),
    case("files.list", purpose="assistants", limit=3, order="asc", after="x"),
    case("files.delete", "file-1"),
    case("files.content", "file-1"),
]


def methods(client: AnyClient, prefix: str = "") -> set[str]:
    """All methods of a client's resources, by their path; the same ones with answers are not counted again."""
    found = set()
    for name in (name for name in dir(client) if not name.startswith(("_", "with_"))):
        member = getattr(client, name)
        if inspect.isfunction(member):
            found.add(f"{prefix}{name}")
        elif type(member).__module__.endswith("resources"):
            found |= methods(member, f"{prefix}{name}.")
    return found


def test_every_method_is_compared(client: Client) -> None:
    ours = {"containers.dialect", "containers.rename", "containers.files.content.head", "containers.files.update"}
    assert {case.method for case in CASES} == methods(client) - ours


def test_every_method_takes_what_the_sdks_takes(client: Client, service: Service) -> None:
    with OpenAI(base_url=service.url, api_key="-") as sdk:
        for path in {case.method for case in CASES}:
            ours, theirs = (set(inspect.signature(_method(each, path)).parameters) for each in (client, sdk))
            assert ours - theirs <= {"progress"}, path
            assert theirs - ours == set(), path


def _method(client: AnyClient, path: str) -> Callable[..., object]:
    for name in path.split("."):
        client = getattr(client, name)
    method: Callable[..., object] = client
    return method


def seen(request: Request) -> dict[str, object]:
    """What matters of a request."""
    headers = {
        name: value
        for name, value in request.headers.items()
        if not name.startswith("x-stainless-") and name not in OF_NO_MATTER
    }
    if not request.body:
        headers.pop("content-type", None)  # the SDK names a type even where nothing has it
    kind = headers.get("content-type", "")
    body: object = request.body
    if kind.startswith("multipart/form-data"):
        headers["content-type"] = "multipart/form-data"
        body = parts(kind, request.body)
    elif kind == "application/json" and request.body:
        body = json.loads(request.body)
    return {
        "method": request.method,
        "path": request.path,
        "query": sorted(request.query),
        "headers": headers,
        "body": body,
    }


def parts(content_type: str, body: bytes) -> list[tuple[dict[str, str], bytes]]:
    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    return [(dict(part.items()), part.get_payload(decode=True)) for part in message.get_payload()]  # type: ignore[misc, union-attr]


def plain(result: Any) -> object:
    """A result in plain data: what the service sent of it."""
    if result is None or isinstance(result, bytes):
        return result
    if hasattr(result, "data"):
        return [result.has_more, [plain(item) for item in result.data]]
    if hasattr(result, "to_dict"):
        return result.to_dict()
    return result.model_dump(exclude_unset=True)


def taken(result: Any) -> object:
    return plain(result.read() if hasattr(result, "read") else result)


async def awaited(result: Awaitable[Any]) -> object:
    value = await result
    return plain(await value.aread() if hasattr(value, "aread") else value)


async def in_async(client: Any, call: Case) -> object:
    async with client:
        return await awaited(call(client))


SETTINGS = {"api_key": "sk-1", "organization": "org", "project": "proj", "default_headers": {"X-Default": "1"}}


def results(service: Service, call: Case) -> dict[str, object]:
    settings: dict[str, Any] = {"base_url": service.url, **SETTINGS}
    with OpenAI(**settings) as sdk, Client(**settings) as ours:
        return {
            "SDK": taken(call(sdk)),
            "ours": taken(call(ours)),
            "async SDK": asyncio.run(in_async(AsyncOpenAI(**settings), call)),
            "async ours": asyncio.run(in_async(AsyncClient(**settings), call)),
        }


@pytest.mark.parametrize("call", CASES, ids=str)
def test_equivalent_requests_and_equal_results(service: Service, call: Case) -> None:
    by_client = results(service, call)
    sdk, ours, async_sdk, async_ours = service.requests
    assert seen(ours) == seen(sdk)
    assert seen(async_ours) == seen(async_sdk)
    assert ("idempotency-key" in ours.headers) == (call.method.endswith("create"))
    assert ("content-length" in ours.headers) == ("content-length" in sdk.headers)
    if call.method.startswith("containers.") and call.method.endswith("delete"):
        assert by_client["ours"] is by_client["async ours"] is None  # as the seed document has it
    else:
        assert by_client["ours"] == by_client["SDK"]
        assert by_client["async ours"] == by_client["async SDK"]


def test_files_from_disk_are_sent_alike(service: Service, tmp_path: Any) -> None:
    path = tmp_path / "notes.md"
    path.write_bytes(CONTENT)
    with OpenAI(base_url=service.url, api_key="-") as sdk, Client(base_url=service.url, api_key="-") as ours:
        for client in (sdk, ours):
            client.files.create(file=path, purpose="assistants")
            with path.open("rb") as file:
                client.files.create(file=file, purpose="assistants")
            client.files.create(file=BytesIO(CONTENT), purpose="assistants")
    requests = [seen(request) for request in service.requests]
    assert requests[:3] == requests[3:]


ITERATED = [call for call in CASES if call.method.endswith("list")]


@pytest.mark.parametrize("call", ITERATED, ids=str)
def test_iterating_gives_the_same_in_every_client(service: Service, call: Case) -> None:
    async def gathered(client: Any) -> list[object]:
        async with client:
            listed: AsyncIterable[Any] = call(client)
            return [plain(item) async for item in listed]

    def listed(items: Iterable[Any]) -> list[object]:
        return [plain(item) for item in items]

    with (
        OpenAI(base_url=service.url, api_key="-") as sdk,
        Client(base_url=service.url, api_key="-") as ours,
    ):
        expected = listed(call(sdk))
        assert listed(call(ours)) == expected
    assert asyncio.run(gathered(AsyncClient(base_url=service.url))) == expected


BAD_IDS = ["", ".", ".."]
BY_ID = ["containers.retrieve", "containers.delete", "containers.files.list", "files.retrieve", "files.delete"]


WALKING_IDS = ["a/../b", "../a", "a/..", "a/./b", "%2e%2e", "a%2F..%2Fb", "a%252f%252e%252e%252fb", "a\\..\\b"]


@pytest.mark.parametrize("id", WALKING_IDS)
@pytest.mark.parametrize("method", [*BY_ID, "files.content"])
def test_an_id_that_a_proxy_would_walk_up_from_is_refused(service: Service, method: str, id: str) -> None:
    with Client(base_url=service.url) as client, pytest.raises(ValueError, match=r"_id"):
        case(method, id)(client)
    assert service.requests == []


@pytest.mark.parametrize("id", BAD_IDS)
@pytest.mark.parametrize("method", [*BY_ID, "files.content"])
def test_an_id_that_leads_elsewhere_is_refused_by_both(service: Service, method: str, id: str) -> None:
    with OpenAI(base_url=service.url, api_key="-") as sdk, Client(base_url=service.url, api_key="-") as ours:
        for client in (sdk, ours):
            with pytest.raises(ValueError, match=r"_id|\.|path"):
                case(method, id)(client)
    assert service.requests == []
