"""The rules of the service: what each operation does, free of HTTP and of SQL.

- A namespace sees only its own containers and files.
- The content of a file id never changes. Storing a file at a path that is taken replaces the old file by one with a new
  id, in one transaction.
- Copies share a blob, which is dead once no row names it.
- Creating, uploading, copying, deleting, and reading a file's content count as activity of the container; looking at
  objects does not. Activity extends containers whose expiry is anchored at ``last_active_at``.
- What has expired is not found, and the sweeper removes it. Deleting a container expires it for good and removes its
  first rows; the sweeper removes the rest.
"""

import time
from collections.abc import Callable

from containerfs.server.requests import ExpiryRule
from containerfs.server.service.container_files import ContainerFiles
from containerfs.server.service.containers import Containers
from containerfs.server.service.contents import Content, Contents
from containerfs.server.service.files import Files
from containerfs.server.service.transactions import ANSWERS_KEPT_S, Once, Transactions
from containerfs.server.storage.open import Stores

__all__ = ["ANSWERS_KEPT_S", "Content", "Once", "Service"]


class Service:
    """All operations, by what they are about.

    Attributes:
        containers: operations on containers.
        container_files: operations on the files of containers.
        files: operations on the files of ``/files``.
        contents: receives the uploads that ``container_files.add`` and ``files.create`` take.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        default_expiry: ExpiryRule | None = None,
        clock: Callable[[], float] = time.time,
        left_work: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up the operations on a pair of stores, which the caller closes.

        Args:
            default_expiry: the rule for containers that are created without one; None keeps them until they are
                deleted.
            clock: returns the time in Unix seconds.
            left_work: called when a change leaves rows that the sweeper has to remove.
        """
        transactions = Transactions(stores, clock, left_work)
        self.contents = Contents(stores.blobs, transactions)
        self.containers = Containers(transactions, default_expiry)
        self.container_files = ContainerFiles(transactions, self.contents)
        self.files = Files(transactions, self.contents)
