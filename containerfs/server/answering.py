"""How an answer is written: its head together with the beginning of its body.

uvicorn writes one after the other, and each write wakes the client up.
"""

import asyncio
from collections.abc import Callable

_JOINED_MAX = 64 * 1024
"""The largest piece of a body that is copied behind its head, in bytes."""


class AnswerTransport(asyncio.Transport):
    """The part of a transport that uvicorn uses for one answer.

    The first write waits for the second, until the event loop's next turn.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], None]
    ) -> None:
        """Write to a transport.

        Args:
            close: closes the connection after the answer.
        """
        super().__init__()
        self._transport, self._loop, self._close = transport, loop, close
        self._first: bytes | None = None
        self._has_begun = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._has_begun:
            self._transport.write(data)
        elif self._first is None:
            self._first = bytes(data)
            self._loop.call_soon(self._begin)
        elif len(data) <= _JOINED_MAX:
            self._first += data
            self._begin()
        else:
            self._begin()
            self._transport.write(data)

    def close(self) -> None:
        self._begin()
        self._close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _begin(self) -> None:
        if self._first is not None and not self._has_begun and not self._transport.is_closing():
            self._transport.write(self._first)
        self._has_begun = True
