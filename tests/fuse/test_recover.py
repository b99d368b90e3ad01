"""``containerfs recover``: what could not be sent is listed, saved, sent again or discarded, by name."""

import errno
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.fuse.mounted import Home, Mount, errno_of, eventually
from tests.server.live import LiveServer, running_server

LARGE = b"content " * 50_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """It takes files of 100 kB at most."""
    with running_server(tmp_path_factory.mktemp("server") / "store", "--max-upload-size", "100K") as live:
        yield live


def recover(home: Home, *words: str | Path) -> str:
    return home.run("containerfs", "recover", *words, "--cache-dir", home.cache_dir)


def refused(home: Home, *words: str | Path, **options: Any) -> str:
    """The one line that says why it cannot be."""
    said = home.fails("containerfs", "recover", *words, "--cache-dir", home.cache_dir, **options)
    assert said.startswith("containerfs recover: ")
    assert said.count("\n") == 1
    return said.removeprefix("containerfs recover: ").strip()


def listed(home: Home) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(recover(home, "list", "--json"))
    return found


def names(home: Home) -> list[str]:
    return [leftover["name"] for leftover in listed(home)]


def write(path: Path, content: bytes) -> None:
    """Write a file that the service does not take."""
    assert errno_of(lambda: path.write_bytes(content)) is not None


def container_of(sdk: OpenAI, name: str) -> str:
    return next(found.id for found in sdk.containers.list() if found.name == name)


@pytest.fixture
def too_large(server: LiveServer, home: Home) -> str:
    """The name of a file that was too large for the service, and whose mount was killed."""
    with home.mounted("--url", server.address) as mount:
        (mount / home.path.parent.name).mkdir()
        write(mount / home.path.parent.name / "large", LARGE)
        mount.kill()
    return f"{home.path.parent.name}/large"


def test_what_was_too_large_is_listed_with_the_reason(sdk: OpenAI, home: Home, too_large: str) -> None:
    (leftover,) = listed(home)
    assert leftover["name"] == too_large
    assert leftover["container_id"] == container_of(sdk, too_large.partition("/")[0])
    assert (leftover["size"], leftover["running"], leftover["set_aside"]) == (len(LARGE), False, False)
    assert "large" in leftover["error"]
    said = recover(home, "list")
    assert said.count("\n") == 1
    for word in (too_large, leftover["id"], f"{len(LARGE)} bytes", leftover["error"]):
        assert word in said


def test_it_is_saved_elsewhere_and_stays(home: Home, too_large: str, tmp_path: Path) -> None:
    recover(home, "save", too_large, tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == LARGE
    assert "saved exists: --force overwrites it" in refused(home, "save", too_large, tmp_path / "saved")
    (tmp_path / "saved").write_bytes(b"other")
    recover(home, "save", too_large, tmp_path / "saved", "--force")
    assert (tmp_path / "saved").read_bytes() == LARGE
    (tmp_path / "directory").mkdir()
    recover(home, "save", too_large, tmp_path / "directory")
    assert os.listdir(tmp_path / "directory") == ["large"]
    assert os.strerror(errno.ENOENT) in refused(home, "save", too_large, tmp_path / "missing" / "saved")
    assert names(home) == [too_large]


def test_what_was_damaged_is_saved_and_said_to_be(home: Home, too_large: str, tmp_path: Path) -> None:
    (data,) = (home.cache_dir / "journal").glob("*/data/*")
    data.chmod(0o600)
    data.write_bytes(LARGE[:-1] + b"x")
    assert "is not what was closed: it was damaged" in refused(home, "save", too_large, tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == LARGE[:-1] + b"x"


def test_it_is_discarded_if_one_says_yes(server: LiveServer, home: Home, too_large: str) -> None:
    for answer in ("n\n", ""):
        said = home.attempt("containerfs", "recover", "discard", too_large, "--cache-dir", home.cache_dir, input=answer)
        assert said.returncode == 1
    assert names(home) == [too_large]
    recover(home, "discard", too_large, "--yes")
    assert names(home) == []
    assert list((home.cache_dir / "journal").glob("*/data/*")) == []
    assert f"there is no {too_large}: 'containerfs recover list' shows" in refused(home, "discard", too_large)
    with home.mounted("--url", server.address) as mount:
        assert os.listdir(mount / too_large.partition("/")[0]) == []
        assert mount.status()["uploads"]["failed"] == []


def test_it_is_sent_again(home: Home, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with (
        running_server(store, "--max-upload-size", "100K") as server,
        home.mounted("--url", server.address) as mount,
    ):
        (mount / "box").mkdir()
        write(mount / "box" / "large", LARGE)
        mount.kill()
    recover(home, "send", "box/large")
    port = server.address.removesuffix("/v1").rpartition(":")[2]
    with running_server(store, "--port", port) as server, home.mounted("--url", server.address) as mount:
        home.run("containerfs", "sync", mount.path)
        assert (mount / "box" / "large").read_bytes() == LARGE
        assert os.getxattr(mount / "box" / "large", "user.containerfs.state") == b"clean"
        assert names(home) == []


def test_what_a_running_mount_has_is_its_own(server: LiveServer, home: Home, tmp_path: Path) -> None:
    with home.mounted("--url", server.address) as mount:
        (mount / "running").mkdir()
        write(mount / "running" / "large", LARGE)
        (leftover,) = listed(home)
        assert (leftover["name"], leftover["running"], leftover["mount"]) == ("running/large", True, mount.pid)
        assert f"the mount of process {mount.pid} has it" in recover(home, "list")
        for command in ("send", "discard"):
            said = refused(home, command, "running/large")
            assert said == "a running mount has it: `containerfs sync MOUNT` tries again, rm discards it"
        recover(home, "save", "running/large", tmp_path / "saved")
        assert (tmp_path / "saved").read_bytes() == LARGE
        (mount / "running" / "large").unlink()
        assert listed(home) == []


@pytest.fixture
def set_aside(server: LiveServer, sdk: OpenAI, home: Home) -> Iterator[Mount]:
    """A mount that has set ``NAME/file`` aside: its container was deleted elsewhere while nothing was mounted."""
    name = home.path.parent.name
    with home.mounted("--url", server.address) as mount:
        (mount / name).mkdir()
        write(mount / name / "file", LARGE)
        mount.kill()
    sdk.containers.delete(container_of(sdk, name))
    recover(home, "send", f"{name}/file")
    with home.mounted("--url", server.address) as mount:
        eventually(lambda: bool(mount.status()["uploads"]["set_aside"]), "the file is set aside")
        yield mount


def test_a_file_whose_container_is_gone_is_set_aside_and_every_command_says_where_it_is(
    set_aside: Mount, home: Home
) -> None:
    (leftover,) = listed(home)
    name = leftover["name"]
    assert (leftover["set_aside"], leftover["running"]) == (True, False)
    status = home.run("containerfs", "status", set_aside.path)
    assert f"  {name}  " in status
    assert "'containerfs recover' saves, sends or discards" in status
    with set_aside.ended():
        said = home.fails("containerfs", "unmount", set_aside.path)
    assert said.count("\n") == 1
    assert name in said
    assert "'containerfs recover' saves, sends or discards" in said
    assert names(home) == [name]
    recover(home, "discard", name, "--yes")
    assert names(home) == []


def test_what_was_set_aside_is_discarded_under_a_running_mount(set_aside: Mount, home: Home) -> None:
    (name,) = names(home)
    recover(home, "discard", name, "--yes")
    assert set_aside.status()["uploads"]["set_aside"] == 0
    with set_aside.ended():
        home.run("containerfs", "unmount", set_aside.path)


def test_files_of_a_damaged_journal_have_lost_their_names(
    server: LiveServer, home: Home, too_large: str, tmp_path: Path
) -> None:
    for path in (home.cache_dir / "journal").glob("*/journal.db*"):
        path.write_bytes(os.urandom(20_000))
    before = listed(home)  # while nobody has set it aside yet
    with home.mounted("--url", server.address) as mount:
        assert mount.status()["uploads"]["set_aside"] == 1
        (leftover,) = listed(home)
        assert "its journal was damaged, and its name is lost" in leftover["error"]
        assert (leftover["size"], leftover["container_id"]) == (len(LARGE), None)
        assert [found["size"] for found in before] == [len(LARGE)]
        recover(home, "save", leftover["id"], tmp_path / "saved")
        assert (tmp_path / "saved").read_bytes() == LARGE
        assert "is lost: save it, and copy it" in refused(home, "send", leftover["id"])
        recover(home, "discard", leftover["name"], "--yes")
        assert listed(home) == []
        assert list((home.cache_dir / "journal").glob("*/damaged-*")) == []


def test_of_several_with_one_name_one_is_given_by_its_id(server: LiveServer, home: Home, tmp_path: Path) -> None:
    contents = {"first": LARGE, "second": LARGE * 2}
    for key, content in contents.items():
        with (
            running_server(tmp_path / key, "--max-upload-size", "100K") as one,
            home.mounted("--url", one.address) as mount,
        ):
            (mount / "box").mkdir()
            write(mount / "box" / "file", content)
            mount.kill()
    leftovers = listed(home)
    assert [leftover["name"] for leftover in leftovers] == ["box/file"] * 2
    assert all(leftover["journal"] in recover(home, "list") for leftover in leftovers)
    for command in (("save", "box/file", tmp_path / "saved"), ("send", "box/file"), ("discard", "box/file", "--yes")):
        said = refused(home, *command)
        assert all(leftover["id"] in said for leftover in leftovers)
    for leftover in leftovers:
        recover(home, "save", leftover["id"], tmp_path / leftover["id"])
        assert (tmp_path / leftover["id"]).stat().st_size == leftover["size"]
    recover(home, "discard", leftovers[0]["id"], "--yes")
    assert [leftover["id"] for leftover in listed(home)] == [leftovers[1]["id"]]


def test_where_nothing_is_left_there_is_nothing_to_say(home: Home) -> None:
    assert recover(home, "list") == ""
    assert listed(home) == []
    assert refused(home, "send", "box/file") == "there is no box/file: 'containerfs recover list' shows what there is"


def test_what_was_synced_and_never_closed_is_listed(server: LiveServer, home: Home, tmp_path: Path) -> None:
    with home.mounted("--url", server.address) as mount:
        (mount / "synced").mkdir()
        descriptor = os.open(mount / "synced" / "file", os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"synced")
        os.fsync(descriptor)
        mount.kill()
        assert errno_of(partial(os.close, descriptor)) == errno.ENOTCONN
    assert names(home) == ["synced/file"]
    recover(home, "save", "synced/file", tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == b"synced"
    recover(home, "discard", "synced/file", "--yes")
    with home.mounted("--url", server.address) as mount:
        assert os.listdir(mount / "synced") == []
