"""How far the kernel reads ahead in a file, which is also how much it requests at once.

That is 128 KiB unless root changes it, and each request costs about the same whatever its size. Source:
Documentation/ABI/testing/sysfs-class-bdi, Linux.
"""

import contextlib
from pathlib import Path

READ_AHEAD = 1024 << 10
"""In bytes. The kernel sends no larger requests."""

_BDI = Path("/sys/class/bdi")


def widen(device: str) -> None:
    """Make the kernel read ``READ_AHEAD`` bytes ahead on a mount, unless it already reads more.

    Only root can do this, and only if /sys is writable. Otherwise nothing changes.

    Args:
        device: of the mount, as in ``table.Entry``.
    """
    setting = _BDI / device / "read_ahead_kb"
    with contextlib.suppress(OSError, ValueError):
        if int(setting.read_text()) < READ_AHEAD // 1024:
            setting.write_text(str(READ_AHEAD // 1024))
