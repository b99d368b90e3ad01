"""Modes of files: a store is for its owner alone, wherever it lies."""

import stat
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import answered, create
from tests.server.live import running_server

UMASK = ["sh", "-c", 'umask "$0" && exec "$@"']


def open_to_others(directory: Path) -> list[Path]:
    """What others than the owner can read or search below a directory, as a path through its own directories."""
    found = []
    for path in directory.iterdir():
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            found.append(path)
            found += open_to_others(path) if path.is_dir() else []
    return found


@pytest.mark.parametrize("umask", ["000", "022", "0777"])
def test_nothing_of_a_store_is_for_others(tmp_path: Path, umask: str) -> None:
    store = tmp_path / "store"
    store.mkdir(mode=0o755)
    with (
        running_server(store, within=[*UMASK, umask]) as server,
        httpx.Client(base_url=server.base_url) as http,
    ):
        container = create(http)["id"]
        answered(http.post(f"/containers/{container}/files", files={"file": ("f", b"secret")}))
        names = {path.name for path in store.iterdir()}
        assert {"metadata.sqlite3", "metadata.sqlite3-wal", "metadata.sqlite3-shm"} <= names
        assert open_to_others(store) == []
        modes = {stat.S_IMODE(path.stat().st_mode) for path in store.rglob("*") if path.is_file()}
        assert modes == {0o600}


def test_a_store_of_an_older_version_or_a_copy_is_closed_to_others(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server:
        server.kill()  # which leaves the database's other files
    store.chmod(0o755)
    for path in store.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert len(open_to_others(store)) == 5
    with running_server(store):
        assert open_to_others(store) == []
