"""What people expect of any command: help, completion, man pages, suggestions, and never a traceback."""

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
from tests.fuse.mounted import Home

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
        ("OSError(28, 'No space left on device')", "containerfs: [Errno 28] No space left on device\n"),
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
