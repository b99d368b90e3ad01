"""What this machine holds of a container that has ended, below ``.expired`` at the root of a mount."""

import errno
import os
from pathlib import Path

import httpx
import pytest

from tests.fuse.mounted import REFRESH, Home, Mount, errno_of, eventually
from tests.server.live import LiveServer

LARGE = 1 << 20


def end(server: LiveServer, mount: Mount, container: Path) -> None:
    """Have a container end, as its time does, and the mount see that."""
    id_ = os.getxattr(container, "user.containerfs.id").decode()
    httpx.delete(f"{server.base_url}/containers/{id_}").raise_for_status()
    os.setxattr(mount.path, REFRESH, b"")
    eventually(lambda: container.name not in os.listdir(mount.path), "the container has ended")


def store(server: LiveServer, container: Path, path: str, content: bytes) -> None:
    """Store a file from elsewhere, of which this machine has nothing."""
    id_ = os.getxattr(container, "user.containerfs.id").decode()
    files = {"file": (path, content)}
    httpx.post(f"{server.base_url}/containers/{id_}/files", files=files).raise_for_status()


def fill(container: Path) -> None:
    """A source tree as builds leave it."""
    (container / "bin").mkdir(parents=True)
    (container / "bin" / "run").write_bytes(b"#!/bin/sh\necho ran\n")
    (container / "bin" / "run").chmod(0o755)
    (container / "bin" / "link").symlink_to("run")
    (container / "large").write_bytes(b"l" * LARGE)


def check_filled(held: Path) -> None:
    assert (held / "large").read_bytes() == b"l" * LARGE
    assert (held / "bin" / "link").readlink() == Path("run")
    assert os.access(held / "bin" / "run", os.X_OK)


def test_what_was_written_and_read_stays_and_the_rest_is_not_shown(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address, "--prefetch", "off") as mount:
        container = mount / "box"
        fill(container)
        store(server, container, "read", b"content")
        store(server, container, "never read", b"content")
        store(server, container, "read in part", b"c" * (64 << 20))
        os.setxattr(container, REFRESH, b"")
        assert (container / "read").read_bytes() == b"content"
        with (container / "read in part").open("rb") as file:
            file.read(1)
        assert errno_of(lambda: os.listdir(mount / ".expired")) == errno.ENOENT, "nothing is shown of nothing"
        end(server, mount, container)
        assert os.listdir(mount.path) == [".expired"]
        held = mount / ".expired" / "box"
        assert sorted(os.listdir(held)) == ["bin", "large", "read"]
        assert (held / "read").read_bytes() == b"content"
        check_filled(held)
        assert home.run(held / "bin" / "run") == "ran\n"
        home.run("cp", "-a", held, home.path / "saved")
        check_filled(home.path / "saved")


def test_it_survives_a_remount_and_the_next_container_of_that_name(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address) as mount:
        fill(mount / "box")
        end(server, mount, mount / "box")
        (mount / "box").mkdir()
        (mount / "box" / "new").write_bytes(b"new")
        assert os.listdir(mount / "box") == ["new"]
        check_filled(mount / ".expired" / "box")
    with home.mounted("--url", server.address) as mount:
        assert sorted(os.listdir(mount.path)) == [".expired", "box"]
        check_filled(mount / ".expired" / "box")
        end(server, mount, mount / "box")
        first, second = sorted(os.listdir(mount / ".expired"))
        assert first == "box"
        assert second.startswith("box (cntr_")
        assert (mount / ".expired" / second / "new").read_bytes() == b"new"


def test_one_that_ends_while_nothing_is_mounted(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address) as mount:
        fill(mount / "box")
        id_ = os.getxattr(mount / "box", "user.containerfs.id").decode()
    httpx.delete(f"{server.base_url}/containers/{id_}").raise_for_status()
    with home.mounted("--url", server.address) as mount:
        check_filled(mount / ".expired" / "box")


def test_nothing_can_be_changed_there(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address) as mount:
        fill(mount / "box")
        end(server, mount, mount / "box")
        expired = mount / ".expired"
        large = expired / "box" / "large"
        refused = {
            "write": lambda: large.write_bytes(b"new"),
            "create": lambda: (expired / "box" / "new").write_bytes(b"new"),
            "create beside": lambda: (expired / "new").write_bytes(b"new"),
            "truncate": lambda: os.truncate(large, 1),
            "unlink": large.unlink,
            "rename": lambda: large.rename(expired / "box" / "renamed"),
            "rename of a container": lambda: (expired / "box").rename(mount / "box"),
            "mkdir": (expired / "box" / "directory").mkdir,
            "mkdir of a container": (expired / "new").mkdir,
            "rmdir": expired.rmdir,
            "rmdir of a container": (expired / "box").rmdir,
            "symlink": lambda: (expired / "box" / "new").symlink_to("large"),
            "chmod": lambda: large.chmod(0o600),
            "touch": lambda: os.utime(large),
        }
        found = {name: errno_of(action) for name, action in refused.items()}
        assert found == dict.fromkeys(refused, errno.EROFS)
        check_filled(expired / "box")


def test_a_container_cannot_have_that_name(server: LiveServer, home: Home) -> None:
    elsewhere = httpx.post(f"{server.base_url}/containers", json={"name": ".expired"}).raise_for_status().json()["id"]
    with home.mounted("--url", server.address) as mount:
        assert errno_of((mount / ".expired").mkdir) == errno.EPERM
        assert os.listdir(mount.path) == [f".expired ({elsewhere})"]
    httpx.delete(f"{server.base_url}/containers/{elsewhere}").raise_for_status()


@pytest.mark.parametrize("size", ["64K", "512K"])
def test_it_gives_way_where_the_cache_needs_the_room(server: LiveServer, home: Home, size: str) -> None:
    with home.mounted("--url", server.address) as mount:
        fill(mount / "box")
        end(server, mount, mount / "box")
    with home.mounted("--url", server.address, "--cache-size", size, "--metadata-expiry", "0") as mount:

        def is_given_up() -> bool:
            return not (mount / ".expired" / "box" / "large").exists()

        eventually(is_given_up, "the cache has made room")


def test_another_account_sees_nothing_of_it(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address, env={"CONTAINERFS_API_KEY": "one"}) as mount:
        fill(mount / "box")
        end(server, mount, mount / "box")
        check_filled(mount / ".expired" / "box")
    with home.mounted("--url", server.address, env={"CONTAINERFS_API_KEY": "other"}) as mount:
        assert os.listdir(mount.path) == []
