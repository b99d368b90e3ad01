"""The base of both clients: settings, a transport, and the resources that use it."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from typing import Generic, Self, TypeVar

import httpx

from containerfs.client.async_transport import AsyncTransport
from containerfs.client.options import DEFAULT_MAX_RETRIES, ClientOptions
from containerfs.client.resources import Containers, Files
from containerfs.client.sync_transport import SyncTransport
from containerfs.client.transport import H
from containerfs.client.types import NOT_GIVEN, AuthHeader, NotGiven, Omit

C = TypeVar("C", SyncTransport, AsyncTransport)


class BaseClient(ABC, Generic[C, H]):
    """A client of one service."""

    containers: Containers[C]
    files: Files[C]

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        timeout: float | httpx.Timeout | NotGiven | None = NOT_GIVEN,
        max_retries: int = DEFAULT_MAX_RETRIES,
        retry_for: float | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        default_headers: Mapping[str, str | Omit] | None = None,
        default_query: Mapping[str, object] | None = None,
        uds: str | os.PathLike[str] | None = None,
        auth_header: AuthHeader = "bearer",
        http_client: H | None = None,
    ) -> None:
        """Open a client; the first request connects.

        Args:
            api_key: the key; else ``OPENAI_API_KEY``. Services of one's own may do without.
            base_url: up to and including ``/v1``; else ``OPENAI_BASE_URL``, else OpenAI's.
            organization, project: else ``OPENAI_ORG_ID`` and ``OPENAI_PROJECT_ID``.
            timeout: in seconds, for connecting and for each wait after it; 600, and 5 to connect, if left out; None is
                no limit. A ``Timeout`` sets each apart.
            max_retries: how often a failed request is sent again, 0 or more.
            retry_for: seconds for which a failed request is sent again instead, at least every two seconds.
            ca_file: PEM file of the certificate authorities to trust; else ``SSL_CERT_FILE``, else the usual ones.
            default_headers: sent with every request; ``omit`` as a value takes a default header away.
            default_query: sent with every request, as ``{"api-version": "..."}``.
            uds: the path of a Unix socket on which the service listens. ``base_url`` then gives the path below it, and
                may be left out.
            auth_header: ``bearer``, or ``api-key`` as Azure wants it.
            http_client: what sends the requests, in place of an httpx client of our own; ``close`` closes it.

        Raises:
            ContainerFSError: if a setting is invalid; the message says which.
        """
        options = ClientOptions.resolve(
            api_key=api_key,
            base_url=base_url,
            organization=organization,
            project=project,
            timeout=timeout,
            max_retries=max_retries,
            retry_for=retry_for,
            ca_file=ca_file,
            default_headers=default_headers,
            default_query=default_query,
            uds=uds,
            auth_header=auth_header,
            http_client=http_client,
        )
        self._use(options, self._connect(options, http_client))

    def with_options(
        self,
        *,
        api_key: str | NotGiven = NOT_GIVEN,
        timeout: float | httpx.Timeout | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        default_headers: Mapping[str, str | Omit] | None = None,
        default_query: Mapping[str, object] | None = None,
    ) -> Self:
        """A client with other settings over the same connections. Closing either closes both.

        Args:
            api_key, timeout, max_retries: this client's, if left out.
            default_headers, default_query: added to this client's, and override them.

        Raises:
            ContainerFSError: if a setting is invalid; the message says which.
        """
        options = self._options.changed(
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            default_headers=default_headers,
            default_query=default_query,
        )
        other = copy(self)
        other._use(options, self._transport.with_options(options))
        return other

    copy = with_options

    def is_closed(self) -> bool:
        """Whether the client was closed."""
        return self._transport.is_closed()

    def _use(self, options: ClientOptions, transport: C) -> None:
        self._options = options
        self._transport: C = transport
        self.containers = Containers(self._transport)
        self.files = Files(self._transport)

    @abstractmethod
    def _connect(self, options: ClientOptions, http_client: H | None) -> C:
        """The transport; the first request connects."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    @property
    def base_url(self) -> str:
        """The URL of the service, without a trailing slash."""
        return self._options.base_url

    @property
    def api_key(self) -> str | None:
        """The API key. It can be set at any time, with effect from the next call."""
        return self._options.secret

    @api_key.setter
    def api_key(self, api_key: str) -> None:
        self._change(self._options.changed(api_key=api_key))

    @property
    def timeout(self) -> httpx.Timeout:
        """The default timeout of a call. It can be set to seconds, to None, or to a ``Timeout``."""
        return self._options.timeout

    @timeout.setter
    def timeout(self, timeout: float | httpx.Timeout | None) -> None:
        self._change(self._options.changed(timeout=timeout))

    @property
    def max_retries(self) -> int:
        """How often a failed request is retried. It can be set."""
        return self._options.max_retries

    @max_retries.setter
    def max_retries(self, max_retries: int) -> None:
        self._change(self._options.changed(max_retries=max_retries))

    def _change(self, options: ClientOptions) -> None:
        """For this client and what was taken of it (``client.files``), and not for those that it made."""
        self._options = options
        self._transport.use(options)
