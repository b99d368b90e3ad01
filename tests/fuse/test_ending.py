"""How a mount ends: whatever was written is on the service, or kept for the next mount; and nothing is left running."""

import contextlib
import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from openai import OpenAI

from containerfs.fuse import table
from tests.fuse.mounted import FUSERMOUNT, PROGRAM_LIMIT, Home, Mount, children, errno_of, eventually, is_dead
from tests.server.live import LiveServer, running_server

CONTENT = b"content " * 50_000
CLOSING = """
import os, sys
opened = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(opened, b"content")
print("closing", flush=True)
os.close(opened)
"""
End = Callable[[Mount], subprocess.Popen[bytes]]


def process_state(pid: int) -> str:
    """Source: proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextlib.contextmanager
def paused(server: int) -> Iterator[None]:
    """The server, given by its process, does not answer within the block."""
    os.kill(server, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server, signal.SIGCONT)


def restarted(server: LiveServer) -> contextlib.AbstractContextManager[LiveServer]:
    """A server that has ended, again, where it was."""
    port = server.address.removesuffix("/v1").rpartition(":")[2]
    return running_server(server.data_dir, "--port", port)


def files_of(sdk: OpenAI, name: str) -> dict[str, bytes]:
    """What the service has in a container, directories apart: contents by path."""
    (container,) = (found for found in sdk.containers.list() if found.name == name)
    return {
        str(file.path).removeprefix("/mnt/data/"): sdk.containers.files.content.retrieve(
            file.id, container_id=container.id
        ).read()
        for file in sdk.containers.files.list(container.id)
        if not str(file.path).endswith("/")
    }


def by_command(mount: Mount) -> subprocess.Popen[bytes]:
    return started(mount, "containerfs", "unmount", str(mount.path))


def by_fusermount(mount: Mount) -> subprocess.Popen[bytes]:
    return started(mount, FUSERMOUNT, "-u", str(mount.path))


def by_sigterm(mount: Mount) -> subprocess.Popen[bytes]:
    return started(mount, "kill", "-TERM", str(mount.pid))


def started(mount: Mount, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=mount.home.environment, stderr=subprocess.PIPE)


every_end = pytest.mark.parametrize("end", [by_command, by_fusermount, by_sigterm])


@every_end
def test_uploads_are_waited_for_and_the_embedded_store_ends_with_the_mount(
    home: Home, tmp_path: Path, end: End
) -> None:
    with home.mounted("--local", "--data-dir", tmp_path / "store", "--write-back") as mount:
        (mount / "container").mkdir()
        (store,) = children(mount.pid)
        with mount.ended():
            with paused(store):
                for number in range(4):
                    (mount / "container" / f"file {number}").write_bytes(CONTENT)
                uploads = mount.status()["uploads"]
                assert (uploads["pending"], len(uploads["files"]), uploads["failed"]) == (4, 4, [])
                ending = end(mount)
            assert (ending.communicate(timeout=PROGRAM_LIMIT)[1], ending.returncode) == (b"", 0)
    assert list(home.cache_dir.glob("journal/*/data/*")) == []
    assert os.listdir(mount.path) == []
    with running_server(tmp_path / "store") as server, OpenAI(base_url=server.base_url, api_key="-") as client:
        assert files_of(client, "container") == {f"file {number}": CONTENT for number in range(4)}


def test_the_embedded_store_ends_with_a_mount_that_is_killed(home: Home, tmp_path: Path) -> None:
    with home.mounted("--local", "--data-dir", tmp_path / "store") as mount:
        (mount / "container").mkdir()
        (mount / "container" / "file").write_bytes(CONTENT)
        mount.kill()
        assert is_dead(mount.path)
    with home.mounted("--local", "--data-dir", tmp_path / "store") as mount:
        assert (mount / "container" / "file").read_bytes() == CONTENT


def test_a_dead_mount_is_cleaned_up_by_unmount(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address) as mount:
        mount.kill()
        assert is_dead(mount.path)
        home.run("containerfs", "unmount", mount.path)
        assert os.listdir(mount.path) == []


def test_what_was_said_to_be_safe_outlives_a_kill(home: Home, tmp_path: Path) -> None:
    """Closed under --write-back, or synced: the next mount uploads it. What was neither is gone."""
    wanted = {"closed": CONTENT, "replaced": b"new", "inner/closed": b"inner", "synced": CONTENT[:1000]}
    with running_server(tmp_path / "store") as server, home.mounted("--url", server.address, "--write-back") as mount:
        top = mount / "killed"
        top.mkdir()
        (top / "replaced").write_bytes(b"old")
        home.run("containerfs", "sync", top)
        server.stop()
        synced, lost = (os.open(top / name, os.O_CREAT | os.O_WRONLY) for name in ("synced", "lost"))
        (top / "closed").write_bytes(CONTENT)
        (top / "replaced").write_bytes(b"new")
        (top / "inner").mkdir()
        (top / "inner" / "closed").write_bytes(b"inner")
        os.write(synced, CONTENT[:1000])
        os.fsync(synced)
        os.write(lost, CONTENT)
        mount.kill()
        for opened in (synced, lost):
            assert errno_of(partial(os.close, opened)) == errno.ENOTCONN
    with restarted(server) as server, OpenAI(base_url=server.base_url, api_key="-") as client:
        assert files_of(client, "killed") == {"replaced": b"old"}
        with home.mounted("--url", server.address) as mount:
            assert {name: (mount / "killed" / name).read_bytes() for name in wanted} == wanted
            home.run("containerfs", "sync", mount.path)
            assert files_of(client, "killed") == wanted
            assert sorted(os.listdir(mount.anew() / "killed")) == ["closed", "inner", "replaced", "synced"]
    assert list(home.cache_dir.glob("journal/*/data/*")) == []


def test_what_was_deleted_is_gone_when_the_mount_has_ended(server: LiveServer, sdk: OpenAI, home: Home) -> None:
    with home.mounted("--url", server.address, "--write-back") as mount:
        top = mount / "deleted"
        (top / "inner").mkdir(parents=True)
        for number in range(50):
            (top / "inner" / f"{number}").write_bytes(b"content")
        (top / "kept").write_bytes(CONTENT)
        home.run("containerfs", "sync", top)
        home.run("rm", "-r", top / "inner")
        assert os.listdir(top) == ["kept"]
        with mount.ended():
            assert by_command(mount).communicate(timeout=PROGRAM_LIMIT)[1] == b""
    assert files_of(sdk, "deleted") == {"kept": CONTENT}


def test_an_upload_under_way_when_the_mount_is_killed_is_stored_once(
    server: LiveServer, sdk: OpenAI, home: Home
) -> None:
    with home.mounted("--url", server.address, "--write-back") as mount:
        (mount / "under way").mkdir()
        with paused(server.process.pid):
            (mount / "under way" / "file").write_bytes(CONTENT)
            mount.kill()
    with home.mounted("--url", server.address) as mount:
        home.run("containerfs", "sync", mount.path)
        assert os.listdir(mount / "under way") == ["file"]
    assert files_of(sdk, "under way") == {"file": CONTENT}


def test_what_a_service_that_is_down_did_not_take_is_named_and_kept(home: Home, tmp_path: Path) -> None:
    with running_server(tmp_path / "store") as server, home.mounted("--url", server.address) as mount:
        (mount / "kept").mkdir()
        server.stop()
        assert errno_of(lambda: (mount / "kept" / "file").write_bytes(CONTENT)) == errno.EIO
        assert (mount / "kept" / "file").read_bytes() == CONTENT
        assert os.getxattr(mount / "kept" / "file", "user.containerfs.state") == b"failed"
        (failed,) = mount.status()["uploads"]["failed"]
        assert failed["name"] == "kept/file"
        with mount.ended():
            said = home.fails("containerfs", "unmount", mount.path)
    assert said.count("\n") == 1
    assert "1 not uploaded, kept for the next mount: kept/file (" in said
    with restarted(server) as server:
        with home.mounted("--url", server.address) as mount:
            home.run("containerfs", "sync", mount.path)
            assert os.getxattr(mount / "kept" / "file", "user.containerfs.state") == b"clean"
        with OpenAI(base_url=server.base_url, api_key="-") as client:
            assert files_of(client, "kept") == {"file": CONTENT}


def test_reading_goes_on_from_the_cache_while_the_service_is_down(home: Home, tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "store") as server,
        home.mounted("--url", server.address, "--metadata-expiry", "0s") as mount,
    ):
        (mount / "container").mkdir()
        (mount / "container" / "read").write_bytes(CONTENT)
        server.stop()
        assert (mount / "container" / "read").read_bytes() == CONTENT
        assert os.listdir(mount / "container") == ["read"]
        assert os.listdir(mount.path) == ["container"]
        assert errno_of(lambda: (mount / "other").mkdir()) == errno.EIO


def test_what_does_not_end_leaves_no_mount_behind(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address) as mount:
        (mount / "container").mkdir()
        (journal,) = home.cache_dir.glob("journal/*/journal.db")
        with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as other, mount.ended():
            other.execute("BEGIN IMMEDIATE")  # which closing a file waits for, whatever happens
            command = [sys.executable, "-c", CLOSING, mount / "container" / "file"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
                assert writer.stdout is not None
                assert writer.stdout.readline() == b"closing\n"
                eventually(lambda: process_state(writer.pid) in "SD", "it waits in close()")
                by_sigterm(mount).communicate(timeout=PROGRAM_LIMIT)
                eventually(lambda: table.entry(mount.path) is None, "it is detached")
                assert writer.poll() is None
                other.execute("ROLLBACK")
                writer.communicate(timeout=PROGRAM_LIMIT)
        assert os.listdir(mount.path) == []


def test_a_mount_in_use_stays(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address) as mount:
        (mount / "in use").mkdir()
        with (mount / "in use" / "file").open("wb") as opened:
            opened.write(b"content")
            said = home.fails("containerfs", "unmount", mount.path)
            assert said.startswith("containerfs unmount: ")
            assert said.count("\n") == 1
        assert (mount / "in use" / "file").read_bytes() == b"content"


def test_unmounting_what_is_no_mount(home: Home, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", Path("/proc")):
        said = home.fails("containerfs", "unmount", path)
        assert said == f"containerfs unmount: {path} is not a mount of containerfs\n"


def test_a_mount_in_the_foreground_ends_with_an_interrupt(home: Home, tmp_path: Path) -> None:
    command = ["containerfs", "mount", tmp_path / "mnt", "--foreground", "--local", "--data-dir", tmp_path / "store"]
    with subprocess.Popen(command, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().decode().startswith("Mounted embedded store in ")
            (tmp_path / "mnt" / "container").mkdir()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PROGRAM_LIMIT)
        finally:
            process.kill()
    assert b"Traceback" not in errors
    assert os.listdir(tmp_path / "mnt") == []
