"""Decompresses answers, a piece at a time.

Invariants: a piece has at most ``PIECE_SIZE`` bytes, however much the data expand. Compressed data that end too early
are an error, never a short success. (httpx decompresses everything that has arrived at once, and accepts truncated
data.)
"""

import zlib
from collections.abc import Iterator

import httpx

from containerfs.client.streams import Body, FilteredBody

PIECE_SIZE = 64 * 1024

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_FORMATS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}
_NOT_ASKED_FOR = frozenset({"br", "zstd", "compress", "x-compress"})
"""Compressions that no request accepts. Other values, such as ``identity`` or an invalid ``utf-8``, change no bytes."""


def decode(response: httpx.Response) -> None:
    """Make an unread response decompress its body when it is read. As in Go, its headers then describe the decompressed
    body.

    Raises:
        httpx.DecodingError: if its compression was not requested.
    """
    names = [name.strip().lower() for name in response.headers.get_list("content-encoding", split_commas=True)]
    if not_asked_for := _NOT_ASKED_FOR.intersection(names):
        raise httpx.DecodingError(", ".join(sorted(not_asked_for)))
    formats = [_FORMATS[name] for name in reversed(names) if name in _FORMATS]
    for window in formats:
        response.stream = _DecompressedBody(response.stream, window)
    if formats:
        response.headers.pop("content-encoding")
        response.headers.pop("content-length", None)


class _DecompressedBody(FilteredBody):
    """A body that is decompressed as it is read."""

    def __init__(self, body: Body, window: int) -> None:
        super().__init__(body)
        self._window = window
        self._zlib = zlib.decompressobj(window)
        self._begun = False

    def _feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what further compressed data expand to."""
        try:
            while data:
                if self._zlib.eof:  # gzip may consist of several members. Source: RFC 1952, section 2.2
                    self._zlib = zlib.decompressobj(self._window)
                yield from self._expanded(data)
                data = self._zlib.unused_data
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from error

    def _expanded(self, data: bytes) -> Iterator[bytes]:
        """Yield what the data expand to, up to the end of one compressed stream."""
        piece = self._first(data)
        while piece:
            yield piece
            # After a full piece there may be more, even if all of the input is used up.
            piece = self._zlib.decompress(self._zlib.unconsumed_tail, PIECE_SIZE)

    def _first(self, data: bytes) -> bytes:
        if self._begun:
            return self._zlib.decompress(data, PIECE_SIZE)
        self._begun = True
        try:
            return self._zlib.decompress(data, PIECE_SIZE)
        except zlib.error:
            if self._window != _ZLIB:
                raise
            # Many services leave out the zlib header of what HTTP calls "deflate".
            self._window, self._zlib = _RAW, zlib.decompressobj(_RAW)
            return self._zlib.decompress(data, PIECE_SIZE)

    def _finish(self) -> None:
        """Raise RemoteProtocolError if the data are not complete. No data at all is an empty body."""
        if self._begun and not self._zlib.eof:
            raise httpx.RemoteProtocolError("the compressed data end too early")
