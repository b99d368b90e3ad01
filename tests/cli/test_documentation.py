"""docs/CLI.md is true: its tables name what there is."""

import re
from pathlib import Path

from containerfs.cli import command_line
from containerfs.mount import statuses

TEXT = (Path(__file__).parents[2] / "docs" / "CLI.md").read_text()
HERE = ("containerfs.cli.listing", "containerfs.cli.copying", "containerfs.cli.changing")


def _module(callback: object) -> str:
    return str(getattr(callback, "__module__", ""))


def test_every_command_is_in_the_table() -> None:
    registered = command_line().registered_commands
    commands = {getattr(info.callback, "__name__", "") for info in registered if _module(info.callback) in HERE}
    assert set(re.findall(r"^\| `([a-z]+) ", TEXT, re.MULTILINE)) == commands


def test_every_status_is_in_the_table() -> None:
    table = {int(number) for number in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert table == {
        0,
        2,
        statuses.INTERRUPTED,
        statuses.FAILED,
        statuses.NOT_FOUND,
        statuses.ACCESS_DENIED,
        statuses.UNREACHABLE,
    }
