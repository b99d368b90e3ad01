"""A mount of a namespace with a quota: what may fit later is tried again by itself, what never can is not."""

import errno
import json
from pathlib import Path

from containerfs.server.storage.open import sqlite_url
from tests.fuse.mounted import Home, Mount, errno_of, eventually
from tests.server.live import LiveServer, running_server
from tests.server.test_keys import keys


def test_what_does_not_fit(tmp_path: Path, home: Home) -> None:
    database = sqlite_url(tmp_path)
    key = keys("add", "me", "--database", database).stdout.strip()
    namespace = keys("list", "--database", database).stdout.split()[0]
    keys("quota", namespace, "--bytes", "1000", "--database", database)
    with (
        running_server(tmp_path / "store", "--database", database, "--api-keys", "database") as server,
        home.mounted("--url", server.address, env={"OPENAI_API_KEY": key}) as mount,
    ):
        box = mount / "box"
        box.mkdir()
        (box / "first").write_bytes(bytes(600))
        assert errno_of(lambda: (box / "never").write_bytes(bytes(1001))) == errno.EFBIG
        assert errno_of(lambda: (box / "later").write_bytes(bytes(600))) == errno.ENOSPC
        assert _failed(mount) == {"box/never", "box/later"}
        (box / "first").unlink()
        eventually(lambda: _failed(mount) == {"box/never"}, "what fits now is stored")
        assert _statuses(server).count(413) == 1
        (box / "never").write_bytes(bytes(400))  # it changes, and so it is tried again
        assert _failed(mount) == set()


def _failed(mount: Mount) -> set[str]:
    return {each["name"] for each in mount.status()["uploads"]["failed"]}


def _statuses(server: LiveServer) -> list[int]:
    """Of the uploads, in the order in which they were answered."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line["status"] for line in lines if line["method"] == "POST" and line["path"].endswith("/files")]
