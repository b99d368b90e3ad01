"""A client's settings, from its arguments and the environment: which service, which key, and how patiently.

Invariant: the API key is in no repr, and in no error.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import httpx

from containerfs import __version__
from containerfs.api.dialect import AUTH_HEADERS
from containerfs.api.errors import ContainerFSError
from containerfs.client.network import Proxy, environment_proxy
from containerfs.client.types import NOT_GIVEN, AuthHeader, NotGiven, Omit

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_TIMEOUT = httpx.Timeout(600, connect=5)
HTTPX_TIMEOUT = httpx.Timeout(5)  # httpx's own default
DEFAULT_MAX_RETRIES = 2

_FIELD_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(r"|[!-~]([\t -~]*[!-~])?")
"""The valid names and values of headers, in ASCII. Source: RFC 9110, sections 5.1 and 5.5."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """A client's settings.

    Attributes:
        base_url: without a trailing slash.
        headers: sent with every request, including the API key.
        secret: the API key alone.
        auth_header: the header in which it is sent.
        query: sent with every request.
        timeout: of every request that does not set its own.
        max_retries: how often a request is retried, 0 or more.
        retry_for: for how many seconds it is retried instead; None if ``max_retries`` counts.
        uds: the path of the Unix socket to connect to; None for TCP.
        ca_file: PEM file of the certificate authorities to trust; None for the usual ones.
        proxy: the proxy to connect through; None for direct connections.
    """

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str | None = field(repr=False)
    auth_header: AuthHeader
    query: Mapping[str, object]
    timeout: httpx.Timeout
    max_retries: int
    retry_for: float | None
    uds: str | None
    ca_file: str | None
    proxy: Proxy | None

    @classmethod
    def resolve(
        cls,
        *,
        api_key: str | None,
        base_url: str | None,
        organization: str | None,
        project: str | None,
        timeout: float | httpx.Timeout | NotGiven | None,
        max_retries: int,
        retry_for: float | None,
        ca_file: str | os.PathLike[str] | None,
        default_headers: Mapping[str, str | Omit] | None,
        default_query: Mapping[str, object] | None,
        uds: str | os.PathLike[str] | None,
        auth_header: AuthHeader,
        http_client: httpx.Client | httpx.AsyncClient | None,
    ) -> "ClientOptions":
        """Complete a client's arguments from the environment.

        Raises:
            ContainerFSError: if a setting is invalid. The message names it.
        """
        url = _url(base_url or _default_url(uds))
        key = _key(api_key or os.environ.get("OPENAI_API_KEY"), url)
        return cls(
            base_url=str(url.copy_with(query=None)).rstrip("/"),
            headers=merged({}, _default_headers(key, auth_header, organization, project), default_headers),
            secret=key,
            auth_header=auth_header,
            query={**url.params, **(default_query or {})},
            timeout=_own_timeout(http_client) if isinstance(timeout, NotGiven) else httpx.Timeout(timeout),
            max_retries=_retries(max_retries),
            retry_for=retry_for,
            uds=None if uds is None else os.fspath(uds),
            ca_file=None if ca_file is None else os.fspath(ca_file),
            proxy=None if uds is not None or http_client is not None else environment_proxy(url),
        )

    def changed(
        self,
        *,
        api_key: str | NotGiven = NOT_GIVEN,
        timeout: float | httpx.Timeout | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_for: float | NotGiven | None = NOT_GIVEN,
        default_headers: Mapping[str, str | Omit] | None = None,
        default_query: Mapping[str, object] | None = None,
    ) -> "ClientOptions":
        """Return the same settings with some changes. Raises ContainerFSError as ``resolve`` does."""
        key = self.secret if isinstance(api_key, NotGiven) else _key(api_key, httpx.URL(self.base_url))
        return replace(
            self,
            secret=key,
            timeout=self.timeout if isinstance(timeout, NotGiven) else httpx.Timeout(timeout),
            max_retries=self.max_retries if isinstance(max_retries, NotGiven) else _retries(max_retries),
            retry_for=self.retry_for if isinstance(retry_for, NotGiven) else retry_for,
            headers=merged(self._headers_with(key), default_headers),
            query={**self.query, **(default_query or {})},
        )

    def _headers_with(self, key: str | None) -> dict[str, str]:
        """Return the headers with another key, unless the caller's own header replaced the key."""
        before, after = (_key_header(each, self.auth_header) for each in (self.secret, key))
        is_ours = before.items() <= self.headers.items()
        return {**self.headers, **(after if is_ours else {})}


def _retries(max_retries: int) -> int:
    if max_retries < 0:
        raise ContainerFSError(f"max_retries must be 0 or more, not {max_retries}")
    return max_retries


def _own_timeout(http_client: httpx.Client | httpx.AsyncClient | None) -> httpx.Timeout:
    """Return the default timeout: that of the caller's own httpx client if it was set, and otherwise ours."""
    if http_client is None or http_client.timeout == HTTPX_TIMEOUT:
        return DEFAULT_TIMEOUT
    return http_client.timeout


def merged(headers: Mapping[str, str], *more: Mapping[str, str | Omit] | None) -> dict[str, str]:
    """Merge headers by their names in lower case. Later ones take precedence, and ``omit`` removes one."""
    result = dict(headers)
    for name, value in (item for mapping in more for item in (mapping or {}).items()):
        if isinstance(value, Omit):
            result.pop(name.lower(), None)
        else:
            result[name.lower()] = _sendable(name, value)
    return result


def _sendable(name: str, value: str) -> str:
    """Return a header's value if HTTP can carry it. Otherwise httpx would quote it in its log, secret or not."""
    if not (_FIELD_NAME.fullmatch(name) and _FIELD_VALUE.fullmatch(value)):
        raise ValueError(f"the header {name!r} has a name or a value that HTTP cannot carry")
    return value


def _default_url(uds: str | os.PathLike[str] | None) -> str:
    if uds is not None:
        return "http://localhost/v1"
    return os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL


def _url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ContainerFSError(f"base_url is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ContainerFSError(f"base_url must begin with http:// or https:// and name a host, not {base_url!r}")
    if url.userinfo:
        raise ContainerFSError("base_url must not hold a user name or password: they would be logged")
    return url


def _key(api_key: str | None, url: httpx.URL) -> str | None:
    """Return the API key if it can be sent. An error must not quote it."""
    key = (api_key or "").strip()
    if not key and url.host == httpx.URL(DEFAULT_BASE_URL).host:
        raise ContainerFSError(f"an API key is needed for {url.host}: pass api_key, or set OPENAI_API_KEY")
    if not re.fullmatch("[!-~]*", key):
        raise ContainerFSError("the API key has characters that a key cannot have: check api_key or OPENAI_API_KEY")
    return key or None


def _default_headers(
    key: str | None, auth_header: AuthHeader, organization: str | None, project: str | None
) -> dict[str, str]:
    headers = {
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "user-agent": f"containerfs/{__version__}",
        "openai-organization": organization or os.environ.get("OPENAI_ORG_ID"),
        "openai-project": project or os.environ.get("OPENAI_PROJECT_ID"),
    }
    return {**_key_header(key, auth_header), **{name: value for name, value in headers.items() if value}}


def _key_header(key: str | None, auth_header: AuthHeader) -> dict[str, str]:
    name, prefix = AUTH_HEADERS[auth_header]
    return {name: prefix + key} if key else {}
