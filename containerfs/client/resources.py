"""The client's methods, listed once for both colours.

A resource class names its methods and the calls they make. Its type parameter is the transport that sends them, and
determines their colour: a descriptor turns a call into a method that returns the result on a resource over
``SyncTransport``, and into a coroutine on one over ``AsyncTransport``. The parameters' names, types and docstrings are
those of ``calls``.
"""

import inspect
from collections.abc import Callable, Coroutine
from functools import cached_property, update_wrapper, wraps
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeAlias, TypeVar, Unpack, get_type_hints, overload

from containerfs.api.models import Item, ListPage
from containerfs.client import calls
from containerfs.client.async_transport import AsyncTransport
from containerfs.client.calls import Call
from containerfs.client.content import AsyncContent, Content, ContentInfo
from containerfs.client.pages import AsyncCursorPage, AsyncPaginator, SyncCursorPage
from containerfs.client.responses import AsyncStreamed, RawResponse, Streamed
from containerfs.client.senders import AsyncRawSender, AsyncStreamingSender, RawSender, StreamingSender
from containerfs.client.sync_transport import SyncTransport
from containerfs.client.types import NOT_GIVEN, FileTypes, Omit, Progress, RequestOptions, omit

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
C = TypeVar("C", SyncTransport, AsyncTransport, RawSender, AsyncRawSender, StreamingSender, AsyncStreamingSender)

Awaiting = Coroutine[Any, Any, R]
AwaitingRaw = Coroutine[Any, Any, RawResponse[R]]

_DEFAULTS = {"timeout": NOT_GIVEN}


class Resource(Generic[C]):
    """A group of methods over one transport."""

    def __init__(self, transport: C) -> None:
        self._transport: C = transport


OverRaw: TypeAlias = Resource[RawSender]
OverAsyncRaw: TypeAlias = Resource[AsyncRawSender]
OverStreaming: TypeAlias = Resource[StreamingSender]
OverAsyncStreaming: TypeAlias = Resource[AsyncStreamingSender]


def _signature(describe: Callable[..., object]) -> inspect.Signature:
    """Return a method's signature as ``help()`` shows it: with the common options by name, and without calls."""
    signature = inspect.signature(describe)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=annotation)
        for name, annotation in get_type_hints(RequestOptions).items()
    ]
    return signature.replace(parameters=[*own, *common], return_annotation=inspect.Signature.empty)


def _in_either_order(describe: Callable[P, R]) -> Callable[P, R]:
    """Accept a single positional id as the file's if the container's is given by name."""

    @wraps(describe)
    def reordered(*args: Any, **kwargs: Any) -> R:
        if len(args) == 1 and "container_id" in kwargs:
            return describe(**kwargs, file_id=args[0])  # type: ignore[call-arg]
        return describe(*args, **kwargs)

    return reordered


class _Method(Generic[P, R]):
    """A method that makes a call. Subclasses define how the transport sends it, and what is returned."""

    def __init__(self, describe: Callable[P, Call[R]]) -> None:
        self._describe = describe
        self._signature = _signature(describe)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def _bound(self, resource: Resource[Any], send: Callable[[Call[R]], Any]) -> Callable[P, Any]:
        """Return the method of one resource. It is kept there, so that it is found directly the next time."""
        describe = self._describe

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return send(describe(*args, **kwargs))

        update_wrapper(method, describe).__name__ = self._name
        method.__qualname__ = f"{type(resource).__name__}.{self._name}"
        method.__signature__ = self._signature  # type: ignore[attr-defined]
        resource.__dict__[self._name] = method
        return method


class Fetch(_Method[P, R]):
    """A method that returns the object in the answer."""

    @overload
    def __get__(self, resource: None, owner: object = None) -> Self: ...
    @overload
    def __get__(self, resource: Resource[SyncTransport], owner: object = None) -> Callable[P, R]: ...
    @overload
    def __get__(self, resource: Resource[AsyncTransport], owner: object = None) -> Callable[P, Awaiting[R]]: ...
    @overload
    def __get__(self, resource: OverRaw, owner: object = None) -> Callable[P, RawResponse[R]]: ...
    @overload
    def __get__(self, resource: OverAsyncRaw, owner: object = None) -> Callable[P, AwaitingRaw[R]]: ...
    @overload
    def __get__(self, resource: OverStreaming, owner: object = None) -> Callable[P, Streamed[R]]: ...
    @overload
    def __get__(self, resource: OverAsyncStreaming, owner: object = None) -> Callable[P, AsyncStreamed[R]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: object = None) -> Any:
        return self if resource is None else self._bound(resource, resource._transport.fetch)


class ContainerFileMethod(Protocol[R_co]):
    """A method that takes a container's id and a file's: both in this order, both by name, or as in today's SDK."""

    @overload
    def __call__(self, container_id: str, file_id: str, **options: Unpack[RequestOptions]) -> R_co: ...
    @overload
    def __call__(self, file_id: str, *, container_id: str, **options: Unpack[RequestOptions]) -> R_co: ...


class FetchOfFile(_Method[P, R]):
    """A method on one file of a container that returns the object in the answer."""

    def __init__(self, describe: Callable[P, Call[R]]) -> None:
        super().__init__(_in_either_order(describe))

    @overload
    def __get__(self, resource: None, owner: object = None) -> Self: ...
    @overload
    def __get__(self, resource: Resource[SyncTransport], owner: object = None) -> ContainerFileMethod[R]: ...
    @overload
    def __get__(self, resource: Resource[AsyncTransport], owner: object = None) -> ContainerFileMethod[Awaiting[R]]: ...
    @overload
    def __get__(self, resource: OverRaw, owner: object = None) -> ContainerFileMethod[RawResponse[R]]: ...
    @overload
    def __get__(self, resource: OverAsyncRaw, owner: object = None) -> ContainerFileMethod[AwaitingRaw[R]]: ...
    @overload
    def __get__(self, resource: OverStreaming, owner: object = None) -> ContainerFileMethod[Streamed[R]]: ...
    @overload
    def __get__(self, resource: OverAsyncStreaming, owner: object = None) -> ContainerFileMethod[AsyncStreamed[R]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: object = None) -> Any:
        return self if resource is None else self._bound(resource, resource._transport.fetch)


class AddFileMethod(Protocol[R_co]):
    """A method that uploads a file into a container, or copies one into it."""

    @overload
    def __call__(
        self,
        container_id: str,
        *,
        file: FileTypes,
        file_id: Omit = omit,
        progress: Progress | None = None,
        **options: Unpack[RequestOptions],
    ) -> R_co: ...
    @overload
    def __call__(
        self, container_id: str, *, file_id: str, file: Omit = omit, **options: Unpack[RequestOptions]
    ) -> R_co: ...


class AddFile(_Method[P, R]):
    """A method that adds a file to a container and returns the object in the answer."""

    @overload
    def __get__(self, resource: None, owner: object = None) -> Self: ...
    @overload
    def __get__(self, resource: Resource[SyncTransport], owner: object = None) -> AddFileMethod[R]: ...
    @overload
    def __get__(self, resource: Resource[AsyncTransport], owner: object = None) -> AddFileMethod[Awaiting[R]]: ...
    @overload
    def __get__(self, resource: OverRaw, owner: object = None) -> AddFileMethod[RawResponse[R]]: ...
    @overload
    def __get__(self, resource: OverAsyncRaw, owner: object = None) -> AddFileMethod[AwaitingRaw[R]]: ...
    @overload
    def __get__(self, resource: OverStreaming, owner: object = None) -> AddFileMethod[Streamed[R]]: ...
    @overload
    def __get__(self, resource: OverAsyncStreaming, owner: object = None) -> AddFileMethod[AsyncStreamed[R]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: object = None) -> Any:
        return self if resource is None else self._bound(resource, resource._transport.fetch)


class List(_Method[P, ListPage[Item]]):
    """A method that returns a page, which continues with the next."""

    @overload
    def __get__(self, resource: None, owner: object = None) -> Self: ...
    @overload
    def __get__(self, resource: Resource[SyncTransport], owner: object = None) -> Callable[P, SyncCursorPage[Item]]: ...
    @overload
    def __get__(
        self, resource: Resource[AsyncTransport], owner: object = None
    ) -> Callable[P, AsyncPaginator[Item]]: ...
    @overload
    def __get__(self, resource: OverRaw, owner: object = None) -> Callable[P, RawResponse[SyncCursorPage[Item]]]: ...
    @overload
    def __get__(
        self, resource: OverAsyncRaw, owner: object = None
    ) -> Callable[P, AwaitingRaw[AsyncCursorPage[Item]]]: ...
    @overload
    def __get__(self, resource: OverStreaming, owner: object = None) -> Callable[P, Streamed[SyncCursorPage[Item]]]: ...
    @overload
    def __get__(
        self, resource: OverAsyncStreaming, owner: object = None
    ) -> Callable[P, AsyncStreamed[AsyncCursorPage[Item]]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: object = None) -> Any:
        return self if resource is None else self._bound(resource, resource._transport.list)


class Stream(_Method[P, ContentInfo]):
    """A method that returns content before it is read."""

    @overload
    def __get__(self, resource: None, owner: object = None) -> Self: ...
    @overload
    def __get__(self, resource: Resource[SyncTransport], owner: object = None) -> Callable[P, Content]: ...
    @overload
    def __get__(
        self, resource: Resource[AsyncTransport], owner: object = None
    ) -> Callable[P, Awaiting[AsyncContent]]: ...
    @overload
    def __get__(self, resource: OverRaw, owner: object = None) -> Callable[P, RawResponse[Content]]: ...
    @overload
    def __get__(self, resource: OverAsyncRaw, owner: object = None) -> Callable[P, AwaitingRaw[AsyncContent]]: ...
    @overload
    def __get__(self, resource: OverStreaming, owner: object = None) -> Callable[P, Streamed[Content]]: ...
    @overload
    def __get__(
        self, resource: OverAsyncStreaming, owner: object = None
    ) -> Callable[P, AsyncStreamed[AsyncContent]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: object = None) -> Any:
        return self if resource is None else self._bound(resource, resource._transport.stream)


S = TypeVar("S")
A = TypeVar("A")


def _over(resource: Resource[Any], sync: Callable[..., object], asynchronous: Callable[..., object]) -> Any:
    """Return the resource over another way to send, by its colour. Raises AttributeError if it has one already."""
    match resource._transport:
        case SyncTransport() as transport:
            return type(resource)(sync(transport))
        case AsyncTransport() as transport:
            return type(resource)(asynchronous(transport))
    raise AttributeError(f"this {type(resource).__name__} returns answers already")


class Raw(Generic[S, A]):
    """The same methods, returning responses that have been read."""

    @overload
    def __get__(self, resource: Resource[SyncTransport], owner: object = None) -> S: ...
    @overload
    def __get__(self, resource: Resource[AsyncTransport], owner: object = None) -> A: ...
    def __get__(self, resource: Resource[Any], owner: object = None) -> Any:
        return _over(resource, RawSender, AsyncRawSender)


class Streaming(Generic[S, A]):
    """The same methods, returning context managers for responses that have not been read yet."""

    @overload
    def __get__(self, resource: Resource[SyncTransport], owner: object = None) -> S: ...
    @overload
    def __get__(self, resource: Resource[AsyncTransport], owner: object = None) -> A: ...
    def __get__(self, resource: Resource[Any], owner: object = None) -> Any:
        return _over(resource, StreamingSender, AsyncStreamingSender)


class ContainerFileContent(Resource[C]):
    """The contents of files in containers: ``client.containers.files.content``."""

    with_raw_response = Raw["ContainerFileContent[RawSender]", "ContainerFileContent[AsyncRawSender]"]()
    with_streaming_response: Streaming[
        "ContainerFileContent[StreamingSender]", "ContainerFileContent[AsyncStreamingSender]"
    ] = Streaming()

    retrieve = Stream(calls.retrieve_container_file_content)
    head = Fetch(calls.head_container_file_content)


class ContainerFiles(Resource[C]):
    """Files in containers: ``client.containers.files``."""

    with_raw_response = Raw["ContainerFiles[RawSender]", "ContainerFiles[AsyncRawSender]"]()
    with_streaming_response: Streaming["ContainerFiles[StreamingSender]", "ContainerFiles[AsyncStreamingSender]"] = (
        Streaming()
    )

    create = AddFile(calls.create_container_file)
    retrieve = FetchOfFile(calls.retrieve_container_file)
    update = Fetch(calls.update_container_file)
    list = List(calls.list_container_files)
    delete = FetchOfFile(calls.delete_container_file)

    @cached_property
    def content(self) -> ContainerFileContent[C]:
        """The contents of these files."""
        return ContainerFileContent(self._transport)


class Containers(Resource[C]):
    """Containers: ``client.containers``."""

    with_raw_response = Raw["Containers[RawSender]", "Containers[AsyncRawSender]"]()
    with_streaming_response = Streaming["Containers[StreamingSender]", "Containers[AsyncStreamingSender]"]()

    create = Fetch(calls.create_container)
    retrieve = Fetch(calls.retrieve_container)
    rename = Fetch(calls.rename_container)
    list = List(calls.list_containers)
    delete = Fetch(calls.delete_container)
    dialect = Fetch(calls.dialect)

    @cached_property
    def files(self) -> ContainerFiles[C]:
        """The files in containers."""
        return ContainerFiles(self._transport)


class Files(Resource[C]):
    """Files that can be copied into containers: ``client.files``."""

    with_raw_response = Raw["Files[RawSender]", "Files[AsyncRawSender]"]()
    with_streaming_response = Streaming["Files[StreamingSender]", "Files[AsyncStreamingSender]"]()

    create = Fetch(calls.create_file)
    retrieve = Fetch(calls.retrieve_file)
    list = List(calls.list_files)
    delete = Fetch(calls.delete_file)
    content = Stream(calls.file_content)


class Resources(Generic[C]):
    """All resources of a client."""

    def __init__(self, transport: C) -> None:
        self.containers: Containers[C] = Containers(transport)
        self.files: Files[C] = Files(transport)
