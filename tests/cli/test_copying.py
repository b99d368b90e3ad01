"""``get``, ``put`` and ``cp``: files in, out, and between containers, whole or not at all."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.box import Box
from tests.cli.conftest import Spoken
from tests.cli.tool import Tool
from tests.conformance import dialects
from tests.faults.faults import ALWAYS, answers, content, error, loses_answer, upload_of
from tests.faults.manners import Manner, Piling, Replacing
from tests.faults.service import Service
from tests.fuse.mounted import eventually, tree
from tests.server.live import LiveServer

LARGE = os.urandom(4 << 20)

InFront = Callable[[type[Manner]], Service]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with files."""
    top = tmp_path / "source"
    for name, data in {"a.txt": b"a", "empty": b"", "deep/b.bin": bytes(100_000), "deep/deeper/é c": b"c"}.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    return top


def parts(directory: Path) -> list[Path]:
    """Downloads that are not whole."""
    return sorted(directory.glob(".containerfs-*.part"))


def test_a_tree_goes_in_and_comes_out_and_nothing_is_said(tool: Tool, box: Box, source: Path, tmp_path: Path) -> None:
    assert tool("put", "-r", source, box.name) == ""
    assert box.holds() == {f"source/{name}": (source / name).read_bytes() for name in tree(source)}
    assert tool("get", "-r", f"{box.name}/source", tmp_path / "new") == ""
    assert tree(tmp_path / "new") == tree(source)
    (tmp_path / "there").mkdir()
    tool("get", "-r", "-p", "1", box.id, tmp_path / "there")
    assert tree(tmp_path / "there" / box.name / "source") == tree(source)
    assert parts(tmp_path / "new") == []


def test_names_at_the_other_end_are_as_with_cp(tool: Tool, box: Box, source: Path, tmp_path: Path) -> None:
    a = source / "a.txt"
    tool("put", a, f"{box.name}/renamed")
    tool("put", a, source / "empty", f"{box.name}/into")
    tool("put", a, f"{box.name}/slash/")
    tool("put", "-r", f"{source}/.", f"{box.name}/all")
    assert sorted(box.holds()) == sorted(
        ["renamed", "into/a.txt", "into/empty", "slash/a.txt", *(f"all/{name}" for name in tree(source))]
    )
    tool("get", f"{box.name}/into/*", tmp_path / "directory")
    tool("get", f"{box.name}/renamed", cwd=tmp_path)
    assert (tmp_path / "renamed").read_bytes() == b"a"
    tool("get", f"{box.name}/renamed", tmp_path / "directory" / "other")
    assert sorted(os.listdir(tmp_path / "directory")) == ["a.txt", "empty", "other"]


def test_what_is_there_is_replaced(tool: Tool, box: Box, tmp_path: Path) -> None:
    box.put("file", b"old")
    (tmp_path / "file").write_bytes(b"new")
    tool("put", tmp_path / "file", box.name)
    assert box.holds() == {"file": b"new"}
    (tmp_path / "file").write_bytes(b"other")
    tool("get", f"{box.name}/file", tmp_path)
    assert (tmp_path / "file").read_bytes() == b"new"


def test_standard_input_and_output(tool: Tool, box: Box, tmp_path: Path) -> None:
    tool("put", "-", f"{box.name}/piped", stdin="content")
    box.put("second", b"!")
    assert tool("get", f"{box.name}/piped", f"{box.name}/second", "-") == "content!"


@pytest.mark.parametrize(
    ("words", "why", "status"),
    [
        (["put", "source", "{box}"], "source is a directory: --recursive copies it", 1),
        (["put", "missing", "{box}"], "there is no missing", 3),
        (["put", "source/a.txt", "nowhere"], "there is no container nowhere", 3),
        (["put", "source/a.txt", "{box}/file/x"], "{box}/file is not a directory", 1),
        (["put", "source/a.txt", "{box}/../x"], "'../x': a name in a container cannot be '..'", 1),
        (
            ["put", "source/a.txt", "source/./a.txt", "source/deep/../a.txt", "{box}"],
            "would both become {box}/a.txt",
            1,
        ),
        (["put", "fifo", "{box}"], "fifo is no regular file", 1),
        (["get", "{box}", "."], "{box} is a directory: --recursive copies it", 1),
        (["get", "{box}/file", "source/a.txt/x"], "File exists", 1),
        (["cp", "{box}/file", "{box}"], "{box}/file and {box}/file are the same file", 1),
    ],
)
def test_what_cannot_be_is_said(tool: Tool, box: Box, source: Path, words: list[str], why: str, status: int) -> None:
    box.put("file")
    os.mkfifo(source.parent / "fifo")
    said = tool.fails(*(word.format(box=box.name) for word in words), status=status, cwd=source.parent)
    assert why.format(box=box.name) in said
    assert box.holds() == {"file": b"content"}


def test_one_failure_does_not_keep_the_others(in_front: InFront, server: LiveServer, tool: Tool, source: Path) -> None:
    service, box = in_front(Manner), Box.create(server, "one fails")
    service.proxy.on(upload_of("source/a.txt"), answers(error(413, "too large")), times=ALWAYS)
    tool.env["OPENAI_BASE_URL"] = service.url
    assert "a.txt: 413: too large" in tool.fails("put", "-r", source, box.name)
    assert set(box.holds()) >= {f"source/{name}" for name in tree(source) if name != "a.txt"}


@pytest.mark.parametrize("manner", [Manner, Replacing, Piling], ids=lambda manner: manner.name)
def test_an_upload_whose_answer_is_lost_is_stored_once(
    in_front: InFront, server: LiveServer, tool: Tool, tmp_path: Path, manner: type[Manner]
) -> None:
    service, box = in_front(manner), Box.create(server, f"lost, {manner.name}")
    tool.env["OPENAI_BASE_URL"] = service.url
    for data in (b"old", b"new"):
        (tmp_path / "file").write_bytes(data)
        service.proxy.on(upload_of("file"), loses_answer)
        tool("put", tmp_path / "file", box.name)
        assert service.holds(box.name) == [("file", data)]


def test_a_download_that_breaks_off_goes_on_where_it_was(
    in_front: InFront, server: LiveServer, tool: Tool, tmp_path: Path
) -> None:
    service, box = in_front(Manner), Box.create(server, "breaks off")
    tool.env["OPENAI_BASE_URL"] = service.url
    box.put("large", LARGE)
    gate = service.proxy.gate()
    service.proxy.on(content, gate.in_answer(0.5))
    process = tool.start("get", f"{box.name}/large", tmp_path)
    gate.reached()
    eventually(lambda: bool(parts(tmp_path)) and parts(tmp_path)[0].stat().st_size > 1 << 20, "half of it is there")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("containerfs get: interrupted; ")
    assert not (tmp_path / "large").exists()
    gate.open()
    tool("get", f"{box.name}/large", tmp_path)
    assert (tmp_path / "large").read_bytes() == LARGE
    assert parts(tmp_path) == []
    begun = [exchange.request.headers.get("range") for exchange in service.proxy.exchanges if content(exchange)]
    assert begun[0] is None
    assert begun[1] is not None
    assert int(begun[1].removeprefix("bytes=").removesuffix("-")) > 1 << 20


def test_a_content_that_is_cut_short_never_gets_the_name(spoken: Spoken, tmp_path: Path) -> None:
    tool = spoken(dialects.CutsShort)
    tool.env["CONTAINERFS_PATIENCE"] = "1s"
    (tmp_path / "file").write_bytes(b"x" * 1000)
    tool("create", "cut")
    tool("put", tmp_path / "file", "cut")
    tool.fails("get", "cut/file", tmp_path / "copy", status=5)
    assert sorted(os.listdir(tmp_path)) == ["file", "home", "store"]


def test_what_was_stored_is_read_back_if_that_is_wanted(
    in_front: InFront, server: LiveServer, tool: Tool, tmp_path: Path
) -> None:
    service, box = in_front(Manner), Box.create(server, "read back")
    tool.env["OPENAI_BASE_URL"] = service.url
    (tmp_path / "file").write_bytes(b"content")
    tool("put", "--verify", tmp_path / "file", box.name)
    service.manner.body = lambda request, body: body.replace(b"content\r", b"cOntent\r")  # type: ignore[method-assign]
    assert "differs from what was uploaded" in tool.fails("put", "--verify", tmp_path / "file", box.name)


def test_copies_within_the_service(in_front: InFront, server: LiveServer, tool: Tool) -> None:
    service, box, other = in_front(Manner), Box.create(server, "copied"), Box.create(server, "copies")
    tool.env["OPENAI_BASE_URL"] = service.url
    for name in ("a", "d/b"):
        box.put(name, name.encode())
    tool("cp", "-r", "copied/*", "copies/in")
    tool("cp", "copied/a", "copied/again")
    assert other.holds() == {"in/a": b"a", "in/d/b": b"d/b"}
    assert box.holds() == {"a": b"a", "d/b": b"d/b", "again": b"a"}
    assert not [exchange for exchange in service.proxy.exchanges if content(exchange) or exchange.is_upload]


@pytest.mark.parametrize(
    "spoken_there",
    [
        [dialects.BytesMissing],
        [dialects.SameIdOnUpload],
        [dialects.Azure, dialects.RenamesUploads, dialects.OpaqueCursors],
        [dialects.BytesMissing, dialects.NoRanges, dialects.KeepsDuplicates, dialects.StrangeIds],
    ],
    ids=lambda spoken: spoken[-1].__name__,
)
def test_other_services(
    spoken: Spoken, spoken_there: list[type[dialects.Dialect]], source: Path, tmp_path: Path
) -> None:
    """Trees, overwriting, copying and renaming by way of this machine, deleting."""
    tool = spoken(*spoken_there)
    tool("create", "box")
    tool("put", "-r", source, "box")
    (source / "a.txt").write_bytes(b"changed")
    tool("put", source / "a.txt", "box/source")
    tool("rename", "box/source/deep", "box/moved")
    tool("cp", "box/source/a.txt", "box/moved/a.txt")
    tool("rm", "box/source/empty")
    tool("get", "-r", "box", tmp_path / "out")
    expected = {f"source/{name}": digest for name, digest in tree(source).items() if name == "a.txt"}
    expected |= {f"moved/{name}": digest for name, digest in tree(source / "deep").items()}
    assert tree(tmp_path / "out") == expected | {"moved/a.txt": expected["source/a.txt"]}


def test_new_files_are_saved_as_they_appear(server: LiveServer, tool: Tool, tmp_path: Path) -> None:
    box = Box.create(server, "watched")
    box.put("first", b"1")
    options = ("--watch", "--interval", "50ms", "-r")
    with tool.start("get", *options, "watched", tmp_path / "out") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{tmp_path}/out/watched/first\n"
        box.put("deep/second", b"2")
        assert process.stdout.readline() == f"{tmp_path}/out/watched/deep/second\n"
        box.put("first", b"changed")
        assert process.stdout.readline() == f"{tmp_path}/out/watched/first\n"
        box.delete()
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "containerfs get: watched: the container has ended\n")
    assert (tmp_path / "out" / "watched" / "first").read_bytes() == b"changed"


def test_on_a_terminal_it_shows_how_it_gets_on(
    in_front: InFront, server: LiveServer, tool: Tool, tmp_path: Path
) -> None:
    box = Box.create(server, "on a terminal")
    box.put("large", LARGE)
    status, shown = tool.on_terminal("get", f"{box.name}/large", tmp_path)
    assert status == 0
    assert "large" in shown
    assert "Downloaded 1 file, 4.2 MB in " in shown
    assert tool.on_terminal("get", "-q", f"{box.name}/large", tmp_path) == (0, "")


def test_an_executable_comes_out_executable(tool: Tool, box: Box, tmp_path: Path) -> None:
    script, back = tmp_path / "script", tmp_path / "back"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o4755)
    os.utime(script, ns=(0, 1_234_567_890_123_456_789))
    tool("put", script, box.name)
    tool("cp", f"{box.name}/script", f"{box.name}/copy")
    tool("get", f"{box.name}/copy", back)
    assert back.stat().st_mode & 0o7777 == 0o755
    assert back.stat().st_mtime_ns == script.stat().st_mtime_ns


def test_empty_directories_go_along(tool: Tool, box: Box, source: Path, tmp_path: Path) -> None:
    """With their modes and times, where the service keeps directories."""
    for name in ("hollow", "deep/hollow", "deep/private"):
        (source / name).mkdir()
        (source / name).chmod(0o700 if name == "deep/private" else 0o755)
        os.utime(source / name, (1, 1_234_567_890))

    def directories(top: Path) -> dict[str, tuple[int, float]]:
        found = {
            str(path.relative_to(top)): path.stat() for path in top.rglob("*") if path.name in ("hollow", "private")
        }
        return {name: (stat.st_mode, stat.st_mtime) for name, stat in found.items()}

    tool("put", "-r", source, box.name)
    tool("get", "-r", f"{box.name}/source", tmp_path / "got")
    assert directories(tmp_path / "got") == directories(source)
    assert tree(tmp_path / "got") == tree(source)
    tool("cp", "-r", f"{box.name}/source", f"{box.name}/copy")
    (tmp_path / "here").mkdir()
    tool("get", "-r", f"{box.name}/copy", tmp_path / "here")
    assert directories(tmp_path / "here" / "copy") == directories(source)
    (tmp_path / "alone").mkdir()
    tool("put", "-r", tmp_path / "alone", box.name)
    tool("get", "-r", f"{box.name}/alone", tmp_path / "alone again")
    assert os.listdir(tmp_path / "alone again") == []


def test_empty_directories_are_left_out_by_a_service_without_them(spoken: Spoken, source: Path, tmp_path: Path) -> None:
    tool = spoken(dialects.Foreign)
    (source / "hollow").mkdir()
    tool("create", "box")
    tool("put", "-r", source, "box")
    tool("get", "-r", "box/source", tmp_path / "got")
    assert tree(tmp_path / "got") == tree(source)
    assert not (tmp_path / "got" / "hollow").exists()
