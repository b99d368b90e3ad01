"""Standard streams that the caller has closed."""

import os
import sys
from contextlib import suppress
from typing import TextIO

_MODES = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}


def complete() -> None:
    """Open the standard streams that are closed, so that nothing else gets their numbers.

    There is nothing to read then, and errors go nowhere. But what is printed is not lost in silence: writing fails
    (EBADF), as with other programs.
    """
    for number, mode in _MODES.items():
        if not _is_open(number):
            with suppress(OSError):
                os.set_inheritable(os.open(os.devnull, mode), True)  # it has the lowest free number, which is this one
    sys.stdin, sys.stdout, sys.stderr = _stream(sys.stdin, 0), _stream(sys.stdout, 1), _stream(sys.stderr, 2)


def flush() -> None:
    """Write what was printed. Raises OSError once, and then there is no output any more."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        raise


def tell(text: str) -> None:
    """Print a line, if anybody can be told."""
    with suppress(OSError):
        try:
            print(text)
        finally:
            flush()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _stream(stream: TextIO | None, number: int) -> TextIO:
    """Return the stream for a descriptor that Python found closed when it started."""
    if stream is not None:
        return stream
    return open(number, "r" if number == 0 else "w", errors="backslashreplace", closefd=False)
