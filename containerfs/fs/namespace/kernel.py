"""What the kernel remembers of files, attributes and pages, and how it is made to forget them.

The kernel relies on the size that it remembers: it would read a file that was replaced elsewhere only up to the old
size, or map it beyond the new one. So when a file is opened whose content is not the one that the kernel was told
about, the kernel is made to forget first. That is quick as long as no program has the file open. Otherwise the kernel
waits for reads of the pages that it forgets, and such a read may be waiting for one of our threads. So if programs have
the file open, a separate thread tells the kernel.

The targets of links it remembers for good, together with their size, so a link never changes: one that was replaced
elsewhere is another node.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from containerfs.fs.namespace.nodes import FileNode

Forget = Callable[[FileNode], bool]
"""Makes the kernel forget a file's attributes and pages. Returns whether it remembers none of them now."""


class KernelMemory:
    """The connection to the kernel. Thread-safe. Before one is attached, nothing is forgotten."""

    def __init__(self) -> None:
        self._forget: Forget = _not_at_all
        self._own_thread = ThreadPoolExecutor(1, "kernel")

    def attach(self, forget: Forget) -> None:
        """Set the function that tells the kernel."""
        self._forget = forget

    def forget(self, node: FileNode) -> bool:
        """Make the kernel forget a file that no program reads, and return whether it did."""
        return self._forget(node)

    def forget_read(self, node: FileNode, patience: float = 0.0) -> bool:
        """Make the kernel forget a file that programs may be reading. Waits for at most ``patience`` seconds."""
        try:
            return self._own_thread.submit(self._forget, node).result(patience)
        except (TimeoutError, RuntimeError):  # the latter if the mount has ended, or no more threads can be started
            return False

    def close(self) -> None:
        """Stop telling the kernel."""
        self._own_thread.shutdown(wait=False, cancel_futures=True)


def _not_at_all(_: FileNode) -> bool:
    return False
