"""One real server for the session, and what tests of the file system start from."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.fs.options import Options
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import Opener, mounted, over_server
from tests.fs.paths import Paths
from tests.server.live import running_server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def opener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    """Opens file systems over one real server."""
    home = tmp_path_factory.mktemp("s")
    with running_server(home / "store", uds=home / "socket") as server, over_server(server) as opener:
        yield opener


@pytest.fixture
def fs(opener: Opener, tmp_path: Path) -> Iterator[Paths]:
    """A file system over the real server, that asks again at every look."""
    filesystem = opener(Options(tmp_path / "cache", metadata_expiry=0.0))
    yield filesystem
    filesystem.close()


@pytest.fixture
def box(fs: Paths) -> str:
    """The path of a new container on the real server."""
    path = f"/box-{next(_numbers)}"
    fs.mkdir(path, 0o755)
    return path


@pytest.fixture
def remote() -> MemoryRemote:
    return MemoryRemote()


@pytest.fixture
def container(remote: MemoryRemote) -> str:
    """The id of a container named ``box`` in memory."""
    return remote.made("box")


@pytest.fixture
def memory_fs(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Paths]:
    """A file system over a service in memory, which has the container ``/box``."""
    with mounted(remote, tmp_path / "cache") as filesystem:
        yield filesystem
