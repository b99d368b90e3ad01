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
            api_key: the key; by default ``OPENAI_API_KEY``. Services without keys need none.
            base_url: up to and including ``/v1``; by default ``OPENAI_BASE_URL``, or OpenAI's.
            organization: by default ``OPENAI_ORG_ID``.
            project: by default ``OPENAI_PROJECT_ID``.
            timeout: in seconds, for connecting and for each wait after that; by default 600, and 5 to connect. None
                means no limit. A ``Timeout`` sets each separately.
            max_retries: how often a failed request is retried, 0 or more.
            retry_for: for how many seconds a failed request is retried instead, at least every two seconds.
            ca_file: PEM file of the certificate authorities to trust; by default ``SSL_CERT_FILE``, or the usual ones.
            default_headers: sent with every request; the value ``omit`` removes a default header.
            default_query: sent with every request, for example ``{"api-version": "..."}``.
            uds: the path of a Unix socket on which the service listens. Then ``base_url`` only gives the path, and may
                be left out.
            auth_header: ``bearer``, or ``api-key`` as Azure wants it.
            http_client: sends the requests, instead of an httpx client of our own; ``close`` closes it.

        Raises:
            ContainerFSError: if a setting is invalid. The message names it.
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
        retry_for: float | NotGiven | None = NOT_GIVEN,
        default_headers: Mapping[str, str | Omit] | None = None,
        default_query: Mapping[str, object] | None = None,
    ) -> Self:
        """Return a client with other settings over the same connections. Closing either closes both.

        Args:
            api_key: by default this client's.
            timeout: by default this client's.
            max_retries: by default this client's.
            retry_for: in seconds, by default this client's; None for ``max_retries`` instead.
            default_headers: added to this client's; they take precedence.
            default_query: added to this client's; they take precedence.

        Raises:
            ContainerFSError: if a setting is invalid. The message names it.
        """
        options = self._options.changed(
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            retry_for=retry_for,
            default_headers=default_headers,
            default_query=default_query,
        )
        other = copy(self)
        other._use(options, self._transport.with_options(options))
        return other

    copy = with_options

    def is_closed(self) -> bool:
        """Tell whether the client was closed."""
        return self._transport.is_closed()

    def _use(self, options: ClientOptions, transport: C) -> None:
        self._options = options
        self._transport: C = transport
        self.containers = Containers(self._transport)
        self.files = Files(self._transport)

    @abstractmethod
    def _connect(self, options: ClientOptions, http_client: H | None) -> C:
        """Return the transport; the first request connects."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    @property
    def base_url(self) -> str:
        """The URL of the service, without a trailing slash."""
        return self._options.base_url

    @property
    def api_key(self) -> str | None:
        """The API key. It can be set at any time, and takes effect with the next call."""
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
        """Change the settings of this client, and of what was taken from it (``client.files``), but not of clients made
        from it."""
        self._options = options
        self._transport.use(options)
