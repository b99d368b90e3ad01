"""How connections are made: through which proxy, and which certificates are trusted."""

import ipaddress
import os
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Self, TypedDict
from urllib.request import getproxies, proxy_bypass

import httpx

from containerfs.api.errors import ContainerFSError

LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=64, keepalive_expiry=15)
"""For about 32 parallel requests. Servers close idle connections after as little as 5 s; the pool notices before
use."""


_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def build_request(
    method: str, url: str, *, headers: Mapping[str, str], timeout: float | httpx.Timeout | None, content: Any
) -> httpx.Request:
    """Build a request as a client of httpx without settings does: merging settings takes as long again."""
    extensions = {"timeout": httpx.Timeout(timeout).as_dict()}
    headers = {"connection": "keep-alive", **headers}
    return httpx.Request(method, _url(url), headers=headers, content=content, extensions=extensions)


_url = lru_cache(1024)(httpx.URL)  # uploads have the same one again and again, and it takes a tenth of a request


class _NoCookies(httpx.Cookies):
    """No cookies, which the API does not have. Looking for them takes a tenth of a request."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep nothing."""


def keep_no_cookies(http: httpx.Client | httpx.AsyncClient) -> None:
    """Keep a client from looking for cookies. httpx has no such setting."""
    http._cookies = _NoCookies()


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that the environment names.

    Attributes:
        variable: the environment variable that names it.
        url: may contain a password.
    """

    variable: str
    url: str = field(repr=False)


def environment_proxy(url: httpx.URL) -> Proxy | None:
    """Return the proxy that the environment names for a URL; None for a direct connection."""
    if _is_loopback(url.host) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    scheme = next((scheme for scheme in (url.scheme, "all") if proxies.get(scheme)), None)
    if scheme is None:
        return None
    name, address = f"{scheme}_proxy", proxies[scheme]
    return Proxy(
        variable=name if os.environ.get(name) else name.upper(),
        url=address if "://" in address else f"http://{address}",
    )


class Route(TypedDict, total=False):
    """What httpx is told about proxies."""

    proxy: str
    mounts: dict[str, None]


def route(proxy: Proxy | None) -> Route:
    """Return how to connect through a proxy, or directly. A redirect may lead to a host in NO_PROXY."""
    if proxy is None:
        return {}
    listed = [entry.strip() for entry in getproxies().get("no", "").split(",")]
    return {"proxy": proxy.url, "mounts": dict.fromkeys(_pattern(entry) for entry in (*listed, *_LOOPBACK) if entry)}


def _pattern(entry: str) -> str:
    """Return httpx's form of an entry of NO_PROXY: an address, or a name with all names below it."""
    if "://" in entry:
        return entry
    try:
        address = ipaddress.ip_address(entry.strip("[]"))
    except ValueError:
        return f"all://*{entry}"
    return f"all://[{address}]" if address.version == 6 else f"all://{address}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@contextmanager
def proxy_blamed(proxy: Proxy | None) -> Iterator[None]:
    """Raise ContainerFSError, without the URL, if the proxy cannot be used."""
    try:
        yield
    except (ValueError, httpx.InvalidURL, ImportError) as error:
        if proxy is None:
            raise
        raise ContainerFSError(f"{proxy.variable} names a proxy that cannot be used ({type(error).__name__})") from None


def tls(url: str, uds: str | None, ca_file: str | None) -> ssl.SSLContext:
    """Return how to verify certificates: as httpx does; on a Unix socket, which has none, by trusting nobody.

    Raises:
        ContainerFSError: if the authorities cannot be read.
    """
    if uds is not None:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _UsualAuthorities() if url.startswith("http:") and ca_file is None else authorities(ca_file)


@cache
def authorities(ca_file: str | None) -> ssl.SSLContext:
    """Return how to verify certificates with these authorities, or with the usual ones.

    All clients share it, because reading the authorities takes 25 ms and 1 MB, and the rest of opening a client 1 ms.
    """
    try:
        return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        setting = "ca_file" if ca_file else "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise ContainerFSError(f"{setting} cannot be used: {error}") from error


class _UsualAuthorities(ssl.SSLContext):
    """The usual authorities, read when they are first needed, because a redirect may lead from http to https."""

    def __new__(cls) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        authorities(None).set_alpn_protocols(alpn_protocols)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return authorities(None).wrap_socket(*args, **options)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return authorities(None).wrap_bio(*args, **options)
