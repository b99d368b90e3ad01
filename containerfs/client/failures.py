"""Translates httpx's errors into the client's, here and nowhere else.

Invariant: no message or chained exception contains a header's value, because one of them is the API key.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from containerfs.api.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APITimeoutError,
    ContentConsumedError,
)
from containerfs.client.network import Proxy


@contextmanager
def translated(proxy: Proxy | None) -> Iterator[None]:
    """Raise the client's errors in place of httpx's.

    Args:
        proxy: the proxy in between; None if there is none.
    """
    try:
        yield
    except httpx.LocalProtocolError:
        # Its text quotes the invalid header, which may be a secret, so it is not chained either.
        raise APIConnectionError("the request is not valid HTTP: check its extra headers") from None
    except httpx.RequestError as error:
        raise _translation(error, proxy) from error
    except httpx.StreamError as error:
        raise ContentConsumedError("the content was already read or closed; it can be read once") from error


_BEFORE_SENDING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""Errors that occur before there is a connection to send on."""


def _translation(error: httpx.RequestError, proxy: Proxy | None) -> APIError:
    said = f": {error}" if str(error) else ""
    said += f"; through the proxy of {proxy.variable}" if proxy else ""
    sent = not isinstance(error, _BEFORE_SENDING)
    match error:
        case httpx.TimeoutException():
            return APITimeoutError(f"the service did not answer in time ({type(error).__name__}{said})", sent=sent)
        case httpx.DecodingError():
            return APIResponseValidationError(f"the service's answer cannot be decompressed{said}")
        case httpx.TooManyRedirects():
            return APIResponseValidationError("the service redirects in a loop")
        case _:
            what = f"cannot connect to the service, or the connection broke ({type(error).__name__}{said})"
            return APIConnectionError(what, sent=sent)
