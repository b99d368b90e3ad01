"""A command's connection to the service, while the command runs."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from containerfs.cli.embedded import EmbeddedStore
from containerfs.cli.service import connect
from containerfs.client import Client
from containerfs.fs import types
from containerfs.fs.service import ApiRemote
from containerfs.transfer.catalog import Catalog
from containerfs.transfer.kept import Names
from containerfs.transfer.transfers import Transfers

if TYPE_CHECKING:
    from containerfs.config import Settings


@dataclass(frozen=True)
class Session:
    """What commands use of a service.

    Attributes:
        look: makes another catalog, of what there is then.
    """

    client: Client
    remote: ApiRemote
    catalog: Catalog
    transfers: Transfers
    look: Callable[[], Catalog]


@contextmanager
def connected(settings: "Settings") -> Iterator[Session]:
    """Raises ContainerFSError: there is no such service, or it refuses the key."""
    logging.getLogger("containerfs").addHandler(logging.NullHandler())  # what went wrong is the command's to say
    with ExitStack() as stack:
        embedded = None
        if settings.service_url is None:
            embedded = EmbeddedStore(settings.data_dir)
            stack.callback(embedded.stop)
            embedded.ready()
        service = settings.service_url or f"embedded store in {settings.data_dir}"
        client, single_shot = (stack.enter_context(each) for each in connect(settings, embedded))
        remote = ApiRemote(client, single_shot, service, settings.patience)
        stack.callback(remote.breaker.close)
        _check(remote)
        names = Names(settings.cache_dir / "attributes.db", service)
        stack.callback(names.close)
        transfers = Transfers(remote, settings.patience, names.keep)
        yield Session(client, remote, Catalog(remote, names), transfers, lambda: Catalog(remote, names))


def _check(remote: ApiRemote) -> None:
    try:
        remote.check()
    except types.FsError as error:
        raise types.naming(remote.service, error) from error
