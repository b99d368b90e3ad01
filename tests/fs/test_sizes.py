"""Sizes that listings leave out: what is shown is what the service says, whatever is going on with a file."""

import os
from pathlib import Path

from tests.fs.gates import Gate
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import mounted


def test_a_file_on_its_way_to_another_name_has_its_size(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    remote.tells_sizes = False
    remote.put(container, "d/a", b"12345")
    gate = Gate("upload")
    remote.before = gate
    with mounted(remote, tmp_path / "cache", write_back=True) as fs:
        fs.rename("/box/d", "/box/e")
        gate.wait()
        meanwhile = fs.getattr("/box/e/a").size
        gate.open()
        assert meanwhile == 5
        assert fs.drain(30) == []
        assert fs.getattr("/box/e/a").size == 5


def test_an_open_file_that_was_deleted_has_its_size(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    remote.tells_sizes = False
    remote.put(container, "a", b"12345")
    with mounted(remote, tmp_path / "cache") as fs:
        fh, _ = fs.open("/box/a", os.O_RDONLY)
        node = fs._files.handle(fh).node
        fs.unlink("/box/a")
        assert fs._inodes.attr(node).size == 5
        fs.release(fh)
