"""docs/SERVER.md is true: its commands and programs run, print what it says, and its tables name what there is."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from containerfs.api.dialect import FEATURES, FEATURES_HEADER
from containerfs.cli import command_line
from containerfs.server.routes.answers import _STATUS
from tests.server.live import running_server

TEXT = (Path(__file__).parents[2] / "docs" / "SERVER.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHELL = [code for language, code in BLOCKS if language == "sh"]


def in_order() -> list[tuple[str, str]]:
    """Each program with what it is said to print."""
    following = [*BLOCKS[1:], ("", "")]
    return [
        (code, said if language == "" else "")
        for (kind, code), (language, said) in zip(BLOCKS, following, strict=True)
        if kind == "python"
    ]


def test_the_programs_print_what_is_said(tmp_path: Path) -> None:
    assert SHELL[0].startswith("containerfs serve --data-dir store --port 8080")
    namespace: dict[str, object] = {}
    with running_server(tmp_path / "store") as server:
        for code, said in in_order():
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(code.replace("http://127.0.0.1:8080/v1", server.address), namespace)
            assert printed.getvalue() == said
    namespace["client"].close()  # type: ignore[attr-defined]


def test_the_commands_run(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with running_server(tmp_path / "store") as server:
        for block in SHELL[1:]:
            command = block.replace("http://127.0.0.1:8080/v1", server.address)
            subprocess.run(["sh", "-ec", command], cwd=tmp_path, env=environment, check=True, timeout=60)
    assert (tmp_path / "keys.json").exists()


def test_every_option_is_in_the_table() -> None:
    env = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    said = CliRunner().invoke(command_line(["serve"]), ["serve", "--help"], env=env).stdout
    options = {option for option in re.findall(r"--[a-z][a-z-]+", said) if option not in ("--help", "--access-log")}
    table = set(re.findall(r"^\| `(--[a-z][a-z-]+)", TEXT, re.MULTILINE))
    assert table == options


def test_what_the_server_advertises_is_in_the_table() -> None:
    assert f"{FEATURES_HEADER}: {FEATURES}\n" in TEXT
    table = re.findall(r"^\| `([a-z-]+)` \|", TEXT[TEXT.index(FEATURES_HEADER) :], re.MULTILINE)
    assert table == FEATURES.split(", ")


def test_every_status_is_in_the_table() -> None:
    table = {
        int(number) for row in re.findall(r"^\| ([45]\d\d[^|]*)\|", TEXT, re.MULTILINE) for number in row.split(", ")
    }
    assert table == set(_STATUS.values())
