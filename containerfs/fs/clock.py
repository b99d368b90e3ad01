"""The service's clock, by which it tells when files were created, and when containers end.

This machine's may be wrong by hours, and be set while a mount runs.
"""

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime


class ServiceClock:
    """Tells the service's time. Thread-safe."""

    def __init__(self) -> None:
        self._offset: float | None = None  # from the time since this machine started

    def set(self, date: str | None) -> None:
        """Set it by the ``Date`` of an answer that has just arrived. Without one, it stays as it is. Source: RFC 9110,
        section 6.6.1."""
        with suppress(ValueError, OverflowError):
            self._offset = parsedate_to_datetime(date or "").timestamp() - _since_boot()

    def now(self) -> float:
        """Return the time in Unix seconds; this machine's if the service does not tell its own."""
        return time.time() if self._offset is None else self._offset + _since_boot()


def _since_boot() -> float:
    """Return seconds of a clock that nobody sets, and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
