"""Timeouts for a whole body, in addition to those for each read."""

import time
from collections.abc import Iterable

import httpx

from containerfs.client.streams import Body, FilteredBody


def limit(response: httpx.Response, seconds: float) -> None:
    """Limit the time until an unread response is completely read, in seconds from now on.

    Raises httpx.ReadTimeout at the first byte after that, or if nothing arrives for as long again.
    """
    response.stream = _LimitedBody(response.stream, seconds)
    timeout = response.request.extensions["timeout"]  # httpcore reads this when the body begins
    timeout["read"] = min(seconds, timeout.get("read") or seconds)


class _LimitedBody(FilteredBody):
    """A body that must be complete in time."""

    def __init__(self, body: Body, seconds: float) -> None:
        super().__init__(body)
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def _feed(self, data: bytes) -> Iterable[bytes]:
        self._finish()
        return (data,)

    def _finish(self) -> None:
        if time.monotonic() > self._end:
            raise httpx.ReadTimeout(f"the content was not whole after {self._seconds} s")
