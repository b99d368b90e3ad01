"""Symbolic links by the commands that need no mount."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.box import Box
from tests.cli.conftest import Spoken
from tests.cli.tool import Tool
from tests.conformance import dialects


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "d").mkdir(parents=True)
    (top / "d" / "file").write_bytes(b"content")
    (top / "to file").symlink_to("d/file")
    (top / "to directory").symlink_to("d")
    (top / "d" / "nowhere").symlink_to(b"/missing/\xff")
    return top


STORED = {
    "d/file": b"content",
    "to file.rclonelink": b"d/file",
    "to directory.rclonelink": b"d",
    "d/nowhere.rclonelink": b"/missing/\xff",
}


def links(top: Path) -> dict[str, bytes]:
    names = [path for path in top.rglob("*") if path.is_symlink()]
    return {str(path.relative_to(top)): os.readlink(os.fsencode(path)) for path in names}


def test_links_go_in_and_come_out(tool: Tool, box: Box, source: Path, tmp_path: Path) -> None:
    tool("put", "-r", "--verify", f"{source}/.", box.name)
    assert box.holds() == STORED
    for _ in range(2):
        tool("get", "-r", f"{box.name}/*", tmp_path / "back")
        assert links(tmp_path / "back") == links(source)
        assert (tmp_path / "back" / "to directory" / "file").read_bytes() == b"content"
    assert list(tmp_path.rglob("*.part")) == []


def test_links_are_copied_renamed_and_deleted(tool: Tool, box: Box, source: Path) -> None:
    tool("put", "-r", f"{source}/.", f"{box.name}/in")
    tool("cp", "-r", f"{box.name}/in", f"{box.name}/out")
    assert box.holds() == {f"{top}/{path}": content for top in ("in", "out") for path, content in STORED.items()}
    tool("rename", f"{box.name}/in/to file", f"{box.name}/in/renamed")
    assert box.holds()["in/renamed.rclonelink"] == b"d/file"
    tool("rm", f"{box.name}/in/renamed", f"{box.name}/out/to directory")
    tool("rm", "-r", f"{box.name}/in")
    assert sorted(box.holds()) == ["out/d/file", "out/d/nowhere.rclonelink", "out/to file.rclonelink"]


def test_a_link_that_is_named_is_followed(tool: Tool, box: Box, source: Path) -> None:
    tool("put", source / "to file", box.name)
    assert box.holds() == {"to file": b"content"}


def test_files_and_links_replace_each_other(tool: Tool, box: Box, source: Path, tmp_path: Path) -> None:
    box.put("x.rclonelink", b"old")
    (source / "x").write_bytes(b"a file")
    tool("put", source / "x", box.name)
    assert box.holds() == {"x": b"a file"}
    (source / "x").unlink()
    (source / "x").symlink_to("new")
    tool("put", "-r", f"{source}/.", box.name)
    assert box.holds() == {**STORED, "x.rclonelink": b"new"}
    (tmp_path / "plain.rclonelink").write_bytes(b"d")
    tool("put", tmp_path / "plain.rclonelink", f"{box.name}/x.rclonelink")
    assert box.holds()["x.rclonelink"] == b"d"


def test_where_the_service_keeps_what_has_a_name(spoken: Spoken, tmp_path: Path) -> None:
    tool = spoken(dialects.KeepsDuplicates)
    tool("create", "box")
    for target in ("first", "second"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / "x").unlink(missing_ok=True)
        (tmp_path / "in" / "x").symlink_to(target)
        tool("put", "-r", f"{tmp_path / 'in'}/.", "box")
    assert tool.lines("ls", "box") == ["x"]
    assert "second" in tool("info", "box/x")


def test_nothing_is_written_through_a_link(tool: Tool, box: Box, tmp_path: Path) -> None:
    """A container that leads out of the destination at first, and then writes there."""
    (tmp_path / "outside").mkdir()
    box.put("d.rclonelink", os.fsencode(tmp_path / "outside"))
    tool("get", "-r", f"{box.name}/*", f"{tmp_path / 'out'}/")
    assert (tmp_path / "out" / "d").is_symlink()
    box.put("d/evil", b"evil")
    said = tool.attempt("get", "-r", f"{box.name}/d", tmp_path / "out")
    assert said.returncode == 1
    assert "out/d is a symbolic link: nothing is written through it" in said.stderr
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_target_that_no_link_can_have(tool: Tool, box: Box, tmp_path: Path) -> None:
    box.put("x.rclonelink", b"a\0b")
    assert "NUL" in tool.fails("get", f"{box.name}/x", tmp_path / "x")
    assert not (tmp_path / "x").is_symlink()


def test_what_links_are_called(tool: Tool, box: Box) -> None:
    box.put("x.rclonelink", b"over there")
    box.put("file")
    assert tool.lines("ls", box.name) == ["file", "x"]
    assert [line.split()[-1] for line in tool.lines("ls", "-l", box.name)] == ["file", "x@"]
    (told,) = json.loads(tool("info", "--json", f"{box.name}/x"))
    assert (told["type"], told["target"], told["size"]) == ("link", "over there", 10)
    assert [each["type"] for each in json.loads(tool("ls", "--json", box.name))] == ["file", "link"]
