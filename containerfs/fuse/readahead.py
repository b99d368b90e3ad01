"""How far the kernel reads ahead in a file, which is also how much it asks for at once.

That is 128 KiB unless root says otherwise, and each request costs about the same whatever its size.
Source: Documentation/ABI/testing/sysfs-class-bdi, Linux.
"""

import contextlib
from pathlib import Path

READ_AHEAD = 1024 << 10
"""In bytes; no request of the kernel is larger."""

_BDI = Path("/sys/class/bdi")


def widen(device: str) -> None:
    """Have the kernel read ``READ_AHEAD`` bytes ahead on a mount, or more if it does already.

    Only root may say so, and not where /sys is read-only; elsewhere everything stays as it is.

    Args:
        device: of the mount, as ``table.Entry`` has it.
    """
    setting = _BDI / device / "read_ahead_kb"
    with contextlib.suppress(OSError, ValueError):
        if int(setting.read_text()) < READ_AHEAD // 1024:
            setting.write_text(str(READ_AHEAD // 1024))
