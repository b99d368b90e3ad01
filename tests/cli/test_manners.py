"""What people expect of any command: help, completion, man pages, suggestions, and never a traceback."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from containerfs import __version__
from containerfs.cli import command_line
from containerfs.cli.manual import pages
from containerfs.cli.roff import man_pages
from tests.cli.box import Box
from tests.cli.tool import Tool
from tests.fuse.mounted import FUSERMOUNT, Home

COMMANDS: dict[str, Any] = dict(get_command(command_line()).commands)  # type: ignore[attr-defined]


def test_help_and_version(tool: Tool) -> None:
    assert tool("-h") == tool("--help")
    assert tool.attempt().returncode == 2
    assert tool("keys", "add", "-h") == tool("keys", "add", "--help")
    assert tool("--version") == f"containerfs {__version__}\n"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["unmuont"], "Did you mean 'unmount'"),
        (["get", "--recursiv", "x"], "--recursive"),
        (["ls", "{box}x"], "; did you mean {box}"),
        (["ls", "{box}/repord.txt"], "; did you mean report.txt?"),
    ],
)
def test_what_may_have_been_meant_is_said(tool: Tool, box: Box, words: list[str], meant: str) -> None:
    box.put("report.txt")
    done = tool.attempt(*(word.format(box=box.name) for word in words))
    assert done.returncode in (2, 3)
    assert meant.format(box=box.name) in done.stderr


def test_bash_completes_commands_and_options(home: Home) -> None:
    script = """
        source <(_CONTAINERFS_COMPLETE=source_bash containerfs)
        COMP_WORDS=(containerfs "$@") COMP_CWORD=$#
        _containerfs_completion containerfs
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    complete = ("bash", "-c", script, "bash")
    assert home.run(*complete, "re").split() == ["refresh", "rename", "recover"]
    assert home.run(*complete, "get", "--rec").split() == ["--recursive"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_completion(home: Home, shell: str) -> None:
    assert "containerfs" in home.run("containerfs", env={"_CONTAINERFS_COMPLETE": f"source_{shell}"})


def test_each_command_has_a_man_page_that_groff_takes(tmp_path: Path) -> None:
    written = man_pages(pages(command_line()))
    assert {f"containerfs-{name}.1" for name in COMMANDS} | {"containerfs.1", "containerfs-keys-add.1"} <= set(written)
    for name, page in written.items():
        (tmp_path / name).write_text(page)
    files = sorted(tmp_path.glob("*.1"))
    done = subprocess.run(["groff", "-man", "-ww", "-z", *files], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shown = subprocess.run(
        ["groff", "-man", "-Tutf8", "-P-bou", tmp_path / "containerfs-get.1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for word in ("--recursive", "--watch", "~/.config/containerfs/config.toml", "130"):
        assert word in shown


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("OSError(28, 'No space left on device')", "containerfs: No space left on device\n"),
        ("ValueError('x')", "containerfs: ValueError('x'); CONTAINERFS_DEBUG=1 shows where\n"),
    ],
)
def test_a_mistake_of_ours_is_no_traceback(home: Home, failure: str, said: str) -> None:
    program = f"""if True:
        from containerfs import cli
        def fail(): raise {failure}
        cli.command_line = lambda names: fail
        cli.main()
    """
    done = home.attempt(sys.executable, "-c", program)
    assert (done.returncode, done.stderr) == (1, said)
    assert "Traceback" in home.attempt(sys.executable, "-c", program, env={"CONTAINERFS_DEBUG": "1"}).stderr


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_streams_that_are_not_needed(home: Home, tmp_path: Path, closed: str) -> None:
    store = ("--local", "--data-dir", tmp_path / "store")
    home.run("containerfs", "create", "box", *store)
    done = home.attempt("sh", "-c", f'exec "$@" {closed}', "sh", "containerfs", "ls", *store)
    assert (done.returncode, done.stdout, done.stderr) == (0, "box\n", "")


@pytest.mark.parametrize(
    ("output", "why"), [(">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")]
)
@pytest.mark.parametrize("words", [["ls"], ["get", "{box}/file", "-"], ["--version"], ["-h"]])
def test_output_that_cannot_be_written(tool: Tool, box: Box, words: list[str], output: str, why: str) -> None:
    box.put("file")
    command = ["containerfs", *(word.format(box=box.name) for word in words)]
    done = tool.home.attempt("sh", "-c", f'exec "$@" {output}', "sh", *command, env=tool.env)
    assert (done.returncode, done.stderr) == (1, f"containerfs: {why}\n")


def test_whoever_reads_only_the_beginning(tool: Tool, box: Box) -> None:
    for number in range(3):
        box.put(f"{number}")
    script = 'set -o pipefail; containerfs ls "$1" | head -n 1; echo "${PIPESTATUS[0]}"'
    done = tool.home.attempt("bash", "-c", script, "bash", box.name, env=tool.env)
    assert (done.stdout.splitlines()[0], done.stderr) == ("0", "")


def test_a_mount_that_nobody_can_be_told_of(home: Home, tmp_path: Path) -> None:
    mountpoint, store = tmp_path / "mnt", ("--local", "--data-dir", tmp_path / "store")
    script = 'exec "$@" <&- >&- 2>&-'
    try:
        mount = ("containerfs", "mount", mountpoint, *store, "--cache-dir", home.cache_dir)
        assert home.attempt("sh", "-c", script, "sh", *mount).returncode == 0
        (mountpoint / "box").mkdir()
        (mountpoint / "box" / "file").write_bytes(b"content")
        assert home.attempt("sh", "-c", script, "sh", "containerfs", "unmount", mountpoint).returncode == 0
        assert home.run("containerfs", "get", "box/file", "-", *store) == "content"
    finally:
        home.attempt(FUSERMOUNT, "-uz", mountpoint)


@pytest.mark.parametrize("command", ["sync", "refresh"])
def test_what_only_a_mount_can_do(home: Home, command: str) -> None:
    assert home.fails("containerfs", command, home.path) == (
        f"containerfs {command}: {home.path} is not in a mount of containerfs\n"
    )
    assert os.listxattr(home.path) == []
    assert (
        home.fails("containerfs", command, "missing") == f"containerfs {command}: missing: No such file or directory\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["get", "box/f", "-"],
        ["get", "-r", "--watch", "box", "out"],
        ["put", "-", "box/f"],
        ["cp", "box/a", "box/b"],
        ["rm", "box"],
        ["info", "box"],
        ["create", "x"],
        ["rename", "a", "b"],
        ["mount", "mnt"],
        ["mount", "--foreground", "mnt"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_ctrl_c_while_the_service_is_silent(tool: Tool, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        tool.env["OPENAI_BASE_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        process = tool.start(*words, start_new_session=True)
        connection, _ = silent.accept()
        with connection:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.strip() in ("", "Aborted.")
