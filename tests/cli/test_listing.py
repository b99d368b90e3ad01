"""``ls`` and ``info``: what there is, under the names of the mount."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.box import Box
from tests.cli.ready import Ready
from tests.cli.tool import Tool
from tests.fuse.mounted import Home
from tests.server.live import LiveServer, running_server


def test_what_is_in_a_container(tool: Tool, box: Box) -> None:
    for name in ("b.txt", "a.csv", "deep/deeper/c.csv", "deep/d"):
        box.put(name)
    assert tool.lines("ls", box.id) == ["a.csv", "b.txt", "deep/"]
    assert tool.lines("ls", "-R", box.name) == ["a.csv", "b.txt", "deep/d", "deep/deeper/c.csv"]
    assert tool.lines("ls", f"/{box.name}/deep/", f"{box.name}/[bc]*", f"{box.name}/deep/*/*") == [
        f"{box.name}/b.txt",
        f"{box.name}/deep/deeper/c.csv",
        "",
        f"{box.name}/deep:",
        "d",
        "deeper/",
    ]
    rows = [line.split() for line in tool.lines("ls", "-l", box.name)]
    assert [(row[0], row[-1]) for row in rows] == [("7", "a.csv"), ("7", "b.txt"), ("-", "deep/")]


def test_the_top(tool: Tool, box: Box) -> None:
    assert tool("ls", "/") == tool("ls")
    assert box.name in tool.lines("ls", "/")
    for words in (["ls", ""], ["info", "/"], ["rm", "//"], ["get", "", "."]):
        assert tool.fails(*words, status=3) == "a name is missing: give CONTAINER or CONTAINER/PATH"


def test_all_of_it_as_json(server: LiveServer, tool: Tool) -> None:
    box = Box.create(server, "as json", expires_after={"anchor": "created_at", "days": 2})
    file = box.put("d/f", b"12345")
    (found,) = [each for each in json.loads(tool("ls", "--json")) if each["id"] == box.id]
    assert (found["name"], found["type"]) == ("as json", "container")
    assert found["expires_at"] == found["created_at"] + 2 * 86400
    directory = {"name": "as json/d", "type": "directory", "container_id": box.id}
    assert json.loads(tool("ls", "--json", "as json/*/f", "as json")) == [
        directory
        | {"name": "as json/d/f", "type": "file"}
        | {key: file[key] for key in ("id", "created_at")}
        | {"size": 5},
        directory,
    ]


def test_when_a_container_ends(server: LiveServer, tool: Tool) -> None:
    Box.create(server, "for a week", expires_after={"anchor": "created_at", "days": 7})
    Box.create(server, "for ever")
    shown = {line.rpartition("  ")[2]: line for line in tool.lines("ls", "-l")}
    assert "  in 7d  " in shown["for a week"]
    assert "  never  " in shown["for ever"]
    told = tool("info", "for a week", "for ever")
    assert "(in 7d)\n" in told
    assert "7 days after it was created\n" in told
    assert "  never\n" in told.split("\n\n")[1]


def test_what_is_known_of_a_file(tool: Tool, box: Box) -> None:
    file = box.put("d/f", bytes(2000))
    name = f"{box.name}/d/f"
    found, again, whole = json.loads(tool("info", "--json", name, f"{box.name}/{file['id']}", box.id))
    assert (found["id"], found["path"], found["size"]) == (file["id"], "/mnt/data/d/f", 2000)
    assert again == found
    assert (whole["files"], whole["size"], whole["status"]) == (1, 2000, "running")
    assert "size:          2000 (2.0 kB)\n" in tool("info", name)


def test_the_names_are_the_mounts(server: LiveServer, tool: Tool, home: Home) -> None:
    for name in ("twins", "twins", "with/slash", ".."):
        Box.create(server, name)
    odd = Box.create(server, "odd names")
    for name in ("a\nb", "é" * 100 + "/x", "[ab]*?"):
        odd.put(name)
    with home.mounted("--url", server.address) as mount:
        shown = sorted(os.listdir(mount.path))
        files = sorted(
            os.fspath(Path(top, name).relative_to(mount / "odd names"))
            for top, _, names in os.walk(mount / "odd names")
            for name in names
        )
    assert [found["name"] for found in json.loads(tool("ls", "--json"))] == shown
    listed = json.loads(tool("ls", "-R", "--json", "odd names"))
    assert sorted(found["name"].removeprefix("odd names/") for found in listed) == files
    assert tool.lines("ls", "odd names/[ab]*?") == ["odd names/[ab]*?"]


def test_a_reader_that_leaves_is_no_error(tool: Tool) -> None:
    with tool.start("ls", "-l") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_the_status_says_what_kind_of_failure_it_was(server: LiveServer, tool: Tool, home: Home, box: Box) -> None:
    assert tool.fails("ls", "~", status=3) == "there is no container ~"
    assert tool.fails("ls", f"{box.name}/nothing", status=3) == f"there is no nothing in {box.name}"
    assert tool.fails("ls", f"{box.name}/*.none", status=3) == f"nothing matches {box.name}/*.none"
    nobody = Tool(home, tool.ready, "http://127.0.0.1:9/v1")
    assert "http://127.0.0.1:9/v1" in nobody.fails("ls", status=5)
    assert "config.toml" in tool.fails("ls", "--profile", "none", status=1)


def test_a_key_that_is_refused(commands: Ready, home: Home, tmp_path: Path) -> None:
    home.attempt("containerfs", "keys", "add", "alice", "--api-keys", tmp_path / "keys")
    with running_server(tmp_path / "store", "--api-keys", str(tmp_path / "keys")) as server:
        assert "check the API key" in Tool(home, commands, server.address).fails("ls", status=4)


@pytest.mark.parametrize("words", [["ls", "--jsn"], ["lss"], ["put", "x"]])
def test_wrong_usage(home: Home, words: list[str]) -> None:
    done = subprocess.run(
        ["containerfs", *words], env=home.environment, cwd=home.path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "Usage: containerfs" in done.stderr
