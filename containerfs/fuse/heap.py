"""How the C library's heap gives memory back.

By default it does so whenever some 128 KiB are free, and content passes in larger pieces: each would be mapped into the
process, filled with zeros page by page, and unmapped again. Source: mallopt(3).
"""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_KEPT = 8 << 20  # bytes that may be free
_OWN_MAPPING = 4 << 20  # bytes; what is as large as that is given back at once


def keep_buffers() -> None:
    """Have this process keep the memory of buffers for the next ones. Another C library than glibc does as it likes."""
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)
