"""File systems without a kernel, for tests: opened over a service, ended as an unmount does or as a crash does."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

from containerfs.client import Client
from containerfs.fs.open import open_filesystem, open_over
from containerfs.fs.options import Options
from containerfs.fs.remote import Remote
from containerfs.fs.service import ApiRemote
from tests.fs.paths import Paths
from tests.server.live import LiveServer

_ended: WeakSet[Paths] = WeakSet()

Opener = Callable[[Options], Paths]


@contextmanager
def over_server(server: LiveServer) -> Iterator[Opener]:
    """Opens file systems over a real server."""
    with connected(server, 2) as client, connected(server, 0) as single_shot:
        yield lambda options: Paths(open_filesystem(service(client, single_shot, "test", options), options))


def service(client: Client, single_shot: Client, name: str, options: Options) -> ApiRemote:
    return ApiRemote(client, single_shot, name, options.patience, options.new_containers)


def connected(server: LiveServer, max_retries: int) -> Client:
    return Client(base_url=server.base_url, uds=server.uds, api_key="none", max_retries=max_retries)


@contextmanager
def mounted(remote: Remote, cache_dir: Path, **options: object) -> Iterator[Paths]:
    """A file system over ``remote``; it asks again at every look unless told otherwise."""
    given: dict[str, object] = {"metadata_expiry": 0.0, "patience": 0.0, **options}
    filesystem = Paths(open_over(remote, Options(cache_dir, **given)))  # type: ignore[arg-type]
    try:
        yield filesystem
    finally:
        if filesystem not in _ended:
            end(filesystem)


def end(filesystem: Paths) -> None:
    """End a file system as an unmount does."""
    _ended.add(filesystem)
    filesystem.close()


def crash(filesystem: Paths) -> None:
    """End a file system as ``kill -9`` ends its process: nothing more is written, and the kernel drops its locks."""
    _ended.add(filesystem)
    filesystem._backlog._schedule.close()
    filesystem._backlog._streaming.close()  # whose connections end
    filesystem._backlog._uploader.close()  # nobody waits for what is due any more
    filesystem._control._status._endings.close()
    filesystem._files._fetcher._cache._background.shutdown(wait=False, cancel_futures=True)
    journal = filesystem._files._journal
    journal._database.close()
    os.close(journal._ownership._fd)
