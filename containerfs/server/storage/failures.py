"""What the stores raise."""

from containerfs.server.storage.records import Quota


class StoreError(Exception):
    """The store cannot be opened or used. The message is one line, and says what to do."""


class OutOfSpaceError(Exception):
    """There is no space for what was to be stored. Nothing of it was stored."""


class StoreUnavailableError(Exception):
    """The store does not answer. If the result of a change was lost, it may have happened."""


class BlobNotFoundError(Exception):
    """There is no such blob, or it was deleted."""


class QuotaExceededError(Exception):
    """A namespace would hold more than its quota allows.

    Attributes:
        quota: with the numbers as they would become.
        size: a lower bound for the size of the file that does not fit, in bytes.
    """

    def __init__(self, quota: Quota, size: int) -> None:
        super().__init__(quota.namespace)
        self.quota, self.size = quota, size


class UnknownCursorError(Exception):
    """``PageQuery.after`` names an item that is not in the listing, and was not recently."""
