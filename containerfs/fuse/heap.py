"""How the C library's heap returns memory.

By default it returns memory whenever about 128 KiB are free, and content is transferred in larger pieces. So each piece
would be mapped into the process, filled with zeros page by page, and unmapped again. Source: mallopt(3).
"""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
_KEPT = 8 << 20  # bytes that may be free
_ARENAS = 2  # each keeps as much; threads of Python rarely allocate at the same time
_OWN_MAPPING = 4 << 20  # bytes; blocks of this size are returned at once


def keep_buffers() -> None:
    """Keep the memory of buffers in this process for reuse. Has no effect with C libraries other than glibc."""
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)
        mallopt(_ARENA_MAX, _ARENAS)
