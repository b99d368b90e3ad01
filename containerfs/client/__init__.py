"""The client for the containers API, sync and async: ``Client`` and ``AsyncClient``.

- ``calls``: one pure function per endpoint: what to send; ``answers``: how to read what comes back
- ``exchange``: when to send again, and after how long: decisions only
- ``transport``: sending, written once; ``sync_transport`` and ``async_transport`` make it sync or async
- ``resources``: the methods of both clients, listed once; ``sync`` and ``aio``: the clients
- ``responses``: responses with their headers; ``senders``: how a call is sent to get one
- ``body``, ``content``, ``pages``: uploads, downloads, listings; ``decoding`` and ``deadlines``: of bodies
"""

from containerfs.client.aio import AsyncClient
from containerfs.client.content import AsyncContent, Content, ContentInfo
from containerfs.client.pages import AsyncCursorPage, AsyncPaginator, SyncCursorPage
from containerfs.client.responses import APIResponse, AsyncAPIResponse, RawResponse
from containerfs.client.sync import Client
from containerfs.client.types import (
    NOT_GIVEN,
    ContainerExpiry,
    FileExpiry,
    FileTypes,
    MemoryLimit,
    NetworkAccess,
    NotGiven,
    Omit,
    Progress,
    Timeout,
    UploadSource,
    not_given,
    omit,
)

HttpxBinaryResponseContent = Content
"""The name of ``Content`` in the ``openai`` SDK."""

__all__ = [
    "NOT_GIVEN",
    "APIResponse",
    "AsyncAPIResponse",
    "AsyncClient",
    "AsyncContent",
    "AsyncCursorPage",
    "AsyncPaginator",
    "Client",
    "ContainerExpiry",
    "Content",
    "ContentInfo",
    "FileExpiry",
    "FileTypes",
    "HttpxBinaryResponseContent",
    "MemoryLimit",
    "NetworkAccess",
    "NotGiven",
    "Omit",
    "Progress",
    "RawResponse",
    "SyncCursorPage",
    "Timeout",
    "UploadSource",
    "not_given",
    "omit",
]
