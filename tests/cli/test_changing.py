"""``create``, ``rm`` and ``rename``."""

import json

import httpx
import pytest

from tests.cli.box import Box
from tests.cli.tool import Tool
from tests.server.live import LiveServer


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("7d", {"anchor": "created_at", "days": 7}),
        ("20m", {"anchor": "last_active_at", "minutes": 20}),
        ("12h", {"anchor": "last_active_at", "minutes": 720}),
    ],
)
def test_a_container_is_made_and_ends_when_it_is_told_to(
    server: LiveServer, tool: Tool, text: str, rule: dict[str, object]
) -> None:
    (container_id,) = tool.lines("create", f"ends after {text}", "--expires-after", text)
    made = httpx.get(f"{server.base_url}/containers/{container_id}").raise_for_status().json()
    assert (made["name"], made["expires_after"]) == (f"ends after {text}", rule)


def test_a_container_is_made_with_files(server: LiveServer, tool: Tool) -> None:
    form = {"files": {"file": ("shared", b"shared")}, "data": {"purpose": "user_data"}}
    file = httpx.post(f"{server.base_url}/files", **form).raise_for_status().json()  # type: ignore[arg-type]
    (container_id,) = tool.lines("create", "with files", "--add", file["id"], "--memory", "4g")
    (found, copy) = json.loads(tool("info", "--json", container_id, "with files/shared"))
    assert (found["memory_limit"], found["files"]) == ("4g", 1)
    assert copy["file_id"] == file["id"]
    assert "no such" in tool.fails("create", "x", "--add", "file-none", status=3).lower()


@pytest.mark.parametrize("text", ["soon", "0d", "5s", "1.5h", "-1d"])
def test_what_is_no_time_to_end_after(tool: Tool, text: str) -> None:
    done = tool.attempt("create", "never made", f"--expires-after={text}")
    assert done.returncode == 2
    assert "is not a time like 20m, 12h or 7d" in " ".join(done.stderr.replace("│", "").split())


def test_files_and_directories_are_deleted(tool: Tool, box: Box) -> None:
    for name in ("a.txt", "b.txt", "c.csv", "d/e", "d/f/g", "h"):
        box.put(name)
    tool("rm", f"{box.name}/*.txt", f"{box.name}/a.txt")
    assert sorted(box.holds()) == ["c.csv", "d/e", "d/f/g", "h"]
    assert "--recursive" in tool.fails("rm", f"{box.name}/h", f"{box.name}/d")
    assert sorted(box.holds()) == ["c.csv", "d/e", "d/f/g", "h"]
    tool("rm", "-r", f"{box.name}/d", f"{box.name}/d/e")
    assert sorted(box.holds()) == ["c.csv", "h"]
    tool.fails("rm", f"{box.name}/c.csv", f"{box.name}/missing", status=3)
    assert sorted(box.holds()) == ["c.csv", "h"]


def test_a_container_is_deleted_if_somebody_says_so(server: LiveServer, tool: Tool, box: Box) -> None:
    box.put("file", bytes(1500))
    done = tool.attempt("rm", box.name, stdin="y\n")
    assert done.returncode == 1
    assert done.stderr == (
        f"{box.name} ({box.id}): 1 file, 1.5 kB\n"
        "containerfs rm: nothing was deleted; --yes deletes 1 container without asking\n"
    )
    status, shown = tool.on_terminal("rm", box.name, typed="n\n")
    assert (status, box.is_there) == (1, True)
    assert f"{box.name} ({box.id}): 1 file, 1.5 kB" in shown
    assert "Delete this container for good? [y/N]" in shown
    assert tool.on_terminal("rm", box.name, typed="y\n")[0] == 0
    assert not box.is_there
    others = [Box.create(server, f"wild {letter}") for letter in "abc"]
    tool("rm", "--yes", "wild [ab]", others[0].id)
    assert [other.is_there for other in others] == [False, False, True]


def test_files_and_directories_are_renamed(tool: Tool, box: Box) -> None:
    for name in ("a", "d/b", "d/e/c", "f"):
        box.put(name, name.encode())
    tool("rename", f"{box.name}/a", f"{box.id}/new/a b")
    tool("rename", f"{box.name}/d", f"{box.name}/g")
    assert box.holds() == {"new/a b": b"a", "g/b": b"d/b", "g/e/c": b"d/e/c", "f": b"f"}
    assert tool.fails("rename", f"{box.name}/f", f"{box.name}/g/b") == f"{box.name}/g/b exists: --force replaces it"
    tool("rename", "--force", f"{box.name}/f", f"{box.name}/g/b")
    assert box.holds() == {"new/a b": b"a", "g/b": b"f", "g/e/c": b"d/e/c"}


def test_what_cannot_be_renamed(server: LiveServer, tool: Tool, box: Box) -> None:
    for name in ("a", "d/b"):
        box.put(name)
    name = box.name
    assert "is in another container" in tool.fails("rename", f"{name}/a", f"{Box.create(server, 'elsewhere').id}/a")
    assert "cannot be moved into itself" in tool.fails("rename", f"{name}/d", f"{name}/d/e")
    assert f"{name}/d is a directory" in tool.fails("rename", f"{name}/a", f"{name}/d")
    assert "are the same file" in tool.fails("rename", f"{name}/a", f"{name}/a", "--force")
    assert sorted(box.holds()) == ["a", "d/b"]


def test_directories_that_the_service_keeps_go_along(tool: Tool, box: Box) -> None:
    for path in ("d/", "d/empty/", "other/"):
        box.put(path, b"")
    box.put("d/file")
    assert tool.lines("ls", box.name) == ["d/", "other/"]
    tool("rename", f"{box.name}/d", f"{box.name}/e")
    assert sorted(box.holds()) == ["e/", "e/empty/", "e/file", "other/"]
    tool("rm", "-r", f"{box.name}/e")
    assert sorted(box.holds()) == ["other/"]


def test_a_container_is_renamed(tool: Tool, box: Box) -> None:
    box.put("file")
    tool("rename", box.name, f"{box.name}-renamed")
    assert tool.lines("ls", f"{box.name}-renamed") == ["file"]
    assert httpx.get(box.url).json()["name"] == f"{box.name}-renamed"
    tool("create", box.name)
    assert "already" in tool.fails("rename", f"{box.name}-renamed", box.name)
    assert "is not a name for one" in tool.fails("rename", box.name, f"{box.name}/x")
