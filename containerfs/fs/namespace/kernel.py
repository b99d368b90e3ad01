"""What the kernel remembers of files, attributes and pages, and how it is made to forget them.

The kernel relies on the size it remembers: a file that was replaced elsewhere would be read up to the old size, or
mapped beyond the new one. So opening a file whose content is not the one that the kernel was told about makes the
kernel forget first. That is quick, and waits for nothing, as long as no program has the file open: the kernel waits for
reads of pages that it has to forget, and such a read may wait for a thread. If programs have the file open, a thread of
its own tells the kernel.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from containerfs.fs.namespace.nodes import FileNode

Forget = Callable[[FileNode], bool]
"""Lets the kernel forget attributes and pages of a file; returns whether it remembers none of them now."""


class KernelMemory:
    """The connection to the kernel. Thread-safe. Without one attached, nothing is forgotten."""

    def __init__(self) -> None:
        self._forget: Forget = _not_at_all
        self._own_thread = ThreadPoolExecutor(1, "kernel")

    def attach(self, forget: Forget) -> None:
        """Attach the way to tell the kernel."""
        self._forget = forget

    def forget(self, node: FileNode) -> bool:
        """Make the kernel forget a file that no program reads; returns whether it did."""
        return self._forget(node)

    def forget_read(self, node: FileNode, patience: float = 0.0) -> bool:
        """The same for a file that programs may be reading; does not wait for longer than ``patience`` seconds."""
        try:
            return self._own_thread.submit(self._forget, node).result(patience)
        except (TimeoutError, RuntimeError):  # the latter: the mount has ended, or there are as many threads as may be
            return False

    def close(self) -> None:
        """Detach the kernel."""
        self._own_thread.shutdown(wait=False, cancel_futures=True)


def _not_at_all(_: FileNode) -> bool:
    return False
