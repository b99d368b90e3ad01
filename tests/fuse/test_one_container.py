"""One container as the root of a mount."""

import errno
import os
import stat
from pathlib import Path

import httpx
import pytest

from tests.fuse.mounted import FUSERMOUNT, REFRESH, Home, eventually
from tests.server.live import LiveServer

DOES_NOT_EXIST = (errno.ENOENT, errno.ESTALE)


def create(server: LiveServer, name: str) -> str:
    """A container with a file; returns its id."""
    answer = httpx.post(f"{server.base_url}/containers", json={"name": name}).raise_for_status()
    container = str(answer.json()["id"])
    store(server, container, "file")
    return container


def store(server: LiveServer, container: str, name: str) -> None:
    url = f"{server.base_url}/containers/{container}/files"
    httpx.post(url, files={"file": (name, name.encode())}).raise_for_status()


def stored(server: LiveServer, container: str) -> set[str]:
    """The paths of its files, below the container."""
    listed = httpx.get(f"{server.base_url}/containers/{container}/files").raise_for_status().json()["data"]
    return {file["path"].removeprefix("/mnt/data/") for file in listed}


def test_its_files_are_at_the_top(server: LiveServer, home: Home) -> None:
    container = create(server, "one")
    create(server, "another one")
    with home.mounted("--url", server.address, "--container", "one") as mount:
        assert mount.said == f"Mounted container 'one' of {server.address} on {mount.path}\n"
        assert os.listdir(mount.path) == ["file"]
        assert (mount / "file").read_bytes() == b"file"
        (mount / "directory").mkdir()
        (mount / "directory" / "new").write_bytes(b"content")
        (mount / "made").write_bytes(b"content")
        (mount / "made").rename(mount / "directory" / "moved")
        (mount / "link").symlink_to("file")
        assert (mount / "link").read_bytes() == b"file"
        assert {"file", "directory/new", "directory/moved"} <= stored(server, container)
        (mount / "directory" / "moved").unlink()
        (mount / "directory" / "new").unlink()
        (mount / "directory").rmdir()
        assert sorted(os.listdir(mount.path)) == ["file", "link"]
        assert os.getxattr(mount.path, "user.containerfs.id").decode() == container


def test_programs_may_set_the_mode_of_the_top(server: LiveServer, home: Home) -> None:
    create(server, "with a mode")
    with home.mounted("--url", server.address, "--container", "with a mode") as mount:
        mount.path.chmod(0o700)
        assert stat.S_IMODE(mount.path.stat().st_mode) == 0o700


def test_by_id_and_as_a_setting(server: LiveServer, home: Home) -> None:
    container = create(server, "by its id")
    with home.mounted("--url", server.address, env={"CONTAINERFS_CONTAINER": container}) as mount:
        assert os.listdir(mount.path) == ["file"]


def test_a_line_of_fstab(server: LiveServer, home: Home, tmp_path: Path) -> None:
    create(server, "of fstab")
    mountpoint = tmp_path / "mnt"
    try:
        options = f"container=of fstab,cache_dir={home.cache_dir}"
        home.run("mount.containerfs", server.address, mountpoint, "-o", options)
        assert os.listdir(mountpoint) == ["file"]
        home.run("containerfs", "unmount", mountpoint)
    finally:
        home.attempt(FUSERMOUNT, "-uz", mountpoint)


def test_one_that_does_not_exist(server: LiveServer, home: Home) -> None:
    said = home.refused_mount("--url", server.address, "--container", "missing")
    assert said == "there is no container 'missing': 'containerfs create' makes one, 'containerfs ls' lists them"
    assert not os.path.ismount(home.path / "mnt")


def test_status_sync_and_refresh(server: LiveServer, home: Home) -> None:
    container = create(server, "commanded")
    options = ("--write-back", "--metadata-expiry", "1h")
    with home.mounted("--url", server.address, "--container", "commanded", *options) as mount:
        assert mount.status()["container"] == {"name": "commanded", "ended": False}
        assert home.run("containerfs", "status", mount.path).startswith(f"container commanded of {server.address} on ")
        (mount / "new").write_bytes(b"content")
        home.run("containerfs", "sync", mount.path)
        assert stored(server, container) == {"file", "new"}
        assert sorted(os.listdir(mount.path)) == ["file", "new"]
        store(server, container, "from elsewhere")
        home.run("containerfs", "refresh", mount.path)
        assert sorted(os.listdir(mount.path)) == ["file", "from elsewhere", "new"]
        home.run("containerfs", "unmount", mount.path)
        mount.unmounted = True


def test_unmount_waits_for_what_goes_up(server: LiveServer, home: Home) -> None:
    container = create(server, "written back")
    with home.mounted("--url", server.address, "--container", "written back", "--write-back") as mount:
        (mount / "new").write_bytes(b"content")
    assert stored(server, container) == {"file", "new"}


def test_it_may_be_renamed_elsewhere(server: LiveServer, home: Home) -> None:
    container = create(server, "old name")
    with home.mounted("--url", server.address, "--container", "old name", "--metadata-expiry", "0") as mount:
        home.run("containerfs", "rename", "--url", server.address, "old name", "new name")
        assert os.listdir(mount.path) == ["file"]
        (mount / "more").write_bytes(b"content")
        assert stored(server, container) == {"file", "more"}


def test_a_trash_is_refused_at_the_top(server: LiveServer, home: Home) -> None:
    create(server, "without a trash")
    with home.mounted("--url", server.address, "--container", "without a trash") as mount:
        with pytest.raises(PermissionError):
            (mount / ".Trash-1000").mkdir()
        (mount / "directory" / ".Trash-1000").mkdir(parents=True)


def test_once_it_has_ended(server: LiveServer, home: Home) -> None:
    """What is in it is gone, and stays so when another gets its name; the mount can still be asked and unmounted."""
    container = create(server, "ends")
    with home.mounted("--url", server.address, "--container", "ends") as mount:
        assert os.listdir(mount.path) == ["file"]
        httpx.delete(f"{server.base_url}/containers/{container}").raise_for_status()
        create(server, "ends")
        os.setxattr(mount.path, REFRESH, b"")

        def listing_fails() -> bool:
            try:
                os.listdir(mount.path)
            except OSError as error:
                return error.errno in DOES_NOT_EXIST
            return False

        eventually(listing_fails, "the mount has seen that the container is gone")
        with pytest.raises(OSError, match=r"Stale|No such"):
            (mount / "new").write_bytes(b"content")
        assert mount.status()["container"] == {"name": "ends", "ended": True}
        assert ", which has ended, on " in home.run("containerfs", "status", mount.path)
        assert "Stale file handle" in home.fails("containerfs", "sync", mount.path)
        home.run("containerfs", "unmount", mount.path)
        mount.unmounted = True
