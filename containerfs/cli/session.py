"""A command's connection to the service, for as long as the command runs."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from containerfs.cli.service import service_settings
from containerfs.client import Client
from containerfs.fs import types
from containerfs.fs.service import ApiRemote
from containerfs.mount.embedded import EmbeddedStore
from containerfs.mount.service import connect
from containerfs.transfer.catalog import Catalog
from containerfs.transfer.kept import Names
from containerfs.transfer.transfers import Transfers

if TYPE_CHECKING:
    from containerfs.config import Settings


@dataclass(frozen=True)
class Session:
    """What commands use of a service.

    Attributes:
        look: makes a new catalog, of what exists then.
    """

    client: Client
    remote: ApiRemote
    catalog: Catalog
    transfers: Transfers
    look: Callable[[], Catalog]


@contextmanager
def connected(settings: "Settings") -> Iterator[Session]:
    """Connect to the service. Raises ContainerFSError if it does not exist, or refuses the key."""
    logging.getLogger("containerfs").addHandler(logging.NullHandler())  # the command reports what went wrong
    with ExitStack() as stack:
        embedded = None
        service = service_settings(settings)
        if service.url is None:
            embedded = EmbeddedStore(service.data_dir)
            stack.callback(embedded.stop)
            embedded.ready()
        client, single_shot = (stack.enter_context(each) for each in connect(service, embedded))
        remote = ApiRemote(client, single_shot, service.name, service.patience)
        stack.callback(remote.breaker.close)
        _check(remote)
        names = Names(settings.cache_dir / "attributes.db", service.name)
        stack.callback(names.close)
        transfers = Transfers(remote, settings.patience, names.keep)
        yield Session(client, remote, Catalog(remote, names), transfers, lambda: Catalog(remote, names))


def _check(remote: ApiRemote) -> None:
    try:
        remote.check()
    except types.FsError as error:
        raise types.naming(remote.service, error) from error
