"""``python -m containerfs.mount MOUNTPOINT DESCRIPTOR`` is the process of a mount, as ``starting`` starts it."""

from containerfs.mount.process import main

main()
