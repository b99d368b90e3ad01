"""Files of all sizes and names go in through one mount and come out of another, byte for byte."""

import errno
import os
import unicodedata
from pathlib import Path

import pytest
from openai import OpenAI

from tests.fuse.mounted import Home, Mount, errno_of, sha256, tree
from tests.server.live import LiveServer

MiB = 1 << 20
SIZES = [0, 1, 4095, 4096, 4097, MiB - 1, MiB, MiB + 1, 128 * MiB]
NAMES = [
    "with spaces  inside and at the end ",
    "'single' \"double\" `back` $quotes",
    "new\nline",
    "-leading dash",
    "--help",
    "emoji 🗂️",
    unicodedata.normalize("NFD", "décomposé"),
    unicodedata.normalize("NFC", "décomposé"),
    "back\\slash * ? [glob] %2F & ; #",
    "tab\tand bell\a",
    "n" * 255,
    "é" * 127 + "x",
    "...",
]


@pytest.mark.parametrize("size", SIZES)
def test_sizes(mount: Mount, other: Mount, container: Path, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    mount.home.run("cp", source, container / "file")
    assert (container / "file").stat().st_size == size
    for seen in (container / "file", other.anew(container) / "file"):
        other.home.run("cp", seen, tmp_path / "copy")
        assert sha256(tmp_path / "copy") == sha256(source)


@pytest.mark.parametrize("name", NAMES)
def test_names(mount: Mount, other: Mount, container: Path, tmp_path: Path, name: str) -> None:
    content = name.encode() * 3
    (tmp_path / "source").write_bytes(content)
    mount.home.run("cp", "--", tmp_path / "source", container / name)
    assert os.listdir(container) == os.listdir(other.anew(container)) == [name]
    assert (other.anew(container) / name).read_bytes() == content
    mount.home.run("rm", "--", name, cwd=container)
    assert os.listdir(container) == os.listdir(other.anew(container)) == []


@pytest.mark.parametrize("name", NAMES)
def test_names_of_containers_and_directories(mount: Mount, other: Mount, container: Path, name: str) -> None:
    nested = container / name / name
    mount.home.run("mkdir", "-p", "--", nested)
    (nested / name).write_text("content")
    assert (other.anew(container) / name / name / name).read_text() == "content"
    named = mount / name
    named.mkdir()
    assert name in os.listdir(other.anew())
    named.rmdir()
    assert name not in os.listdir(other.anew())


def test_names_that_linux_does_not_take(container: Path) -> None:
    assert errno_of(lambda: (container / ("n" * 256)).write_text("")) == errno.ENAMETOOLONG
    assert errno_of(lambda: (container / ("é" * 128)).mkdir()) == errno.ENAMETOOLONG
    assert os.listdir(container) == []


def test_names_that_are_not_utf8(mount: Mount, container: Path) -> None:
    name = os.fsencode(container) + b"/latin-1 \xe9"
    assert errno_of(lambda: os.mkdir(name)) == errno.EILSEQ
    assert errno_of(lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY))) == errno.EILSEQ
    assert errno_of(lambda: os.mkdir(os.fsencode(mount.path) + b"/\xff")) == errno.EILSEQ
    (container / "file").write_text("content")
    assert errno_of(lambda: os.rename(container / "file", name)) == errno.EILSEQ
    assert errno_of(lambda: os.stat(name)) == errno.ENOENT
    assert os.listdir(container) == ["file"]


def test_a_thousand_files(server: LiveServer, mount: Mount, container: Path, tmp_path: Path, home: Home) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(1000):
        (source / f"file {number:04}").write_text(f"content {number}")
    mount.home.run("cp", "-r", f"{source}/.", container)
    assert len(os.listdir(container)) == 1000
    with home.mounted("--url", server.address) as fresh:
        assert tree(fresh / container.name) == tree(source)


def test_containers_of_several_pages(mount: Mount, other: Mount, sdk: OpenAI) -> None:
    names = {f"one of many {number:03}" for number in range(150)}
    for name in names:
        (mount / name).mkdir()
    assert {container.name for container in sdk.containers.list(limit=100)} >= names
    assert names <= set(os.listdir(other.anew()))
    (mount / "one of many 000" / "file").write_text("content")
    mount.home.run("rm", "-r", *sorted(mount / name for name in names))
    assert not names & {container.name for container in sdk.containers.list(limit=100)}


def test_two_containers_of_one_name(other: Mount, sdk: OpenAI) -> None:
    """The older keeps the name; the other is shown with its id; each can be reached by its id alone."""
    first, second = (sdk.containers.create(name="twin") for _ in range(2))
    names = [name for name in os.listdir(other.anew()) if name.startswith("twin")]
    assert sorted(names) == ["twin", f"twin ({second.id})"]
    (other.anew() / "twin" / "file").write_text("first")
    (other / f"twin ({second.id})" / "file").write_text("second")
    for container, content in ((first, "first"), (second, "second")):
        (file,) = sdk.containers.files.list(container.id)
        assert sdk.containers.files.content.retrieve(file.id, container_id=container.id).read() == content.encode()
        assert (other / container.id / "file").read_text() == content
    other.home.run("rm", "-r", other / "twin")
    assert [container.id for container in sdk.containers.list() if container.name == "twin"] == [second.id]


@pytest.mark.parametrize("damage", ["flip", "cut", "zeros"])
def test_what_this_machines_disk_damages_is_fetched_again(
    server: LiveServer, home: Home, container: Path, damage: str
) -> None:
    content = os.urandom(3 * MiB)
    (container / "file").write_bytes(content)
    for _ in range(2):  # the second mount reads what the first one has cached, damaged
        with home.mounted("--url", server.address) as seen:
            assert (seen / container.name / "file").read_bytes() == content
            (cached,) = (path for path in home.cache_dir.glob("content/??/*") if path.stat().st_size > MiB)
        with cached.open("r+b") as file:
            file.seek(MiB + 5)
            if damage == "cut":
                file.truncate()
            else:
                file.write(bytes(5000) if damage == "zeros" else bytes([content[MiB + 5] ^ 1]))
