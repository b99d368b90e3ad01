"""What commands and mounts import: most of the time that a mount takes to start goes there, and most of its memory."""

import subprocess
import sys

import pytest

_COMMAND = """
import contextlib, sys
from containerfs.cli import main
sys.argv = ["containerfs", "--version"]
with contextlib.suppress(SystemExit):
    main()
import {modules}
print(*sorted(set(sys.modules) & set({unwanted!r})))
"""
_MOUNT = """
import sys
sys.argv = ["", ""]
from containerfs.mount import process
process.leave = lambda status: print()
process.main()
import {modules}
print(*sorted(set(sys.modules) & set({unwanted!r})))
"""


_EARLY = """
import sys
from containerfs.cli import main
from containerfs.mount import starting

def begun(mountpoint):
    print(mountpoint, "pydantic" in sys.modules)
    sys.exit()

starting.Starting = begun
sys.argv = ["containerfs", "mount", "--url", "http://127.0.0.1:9/v1", *{words!r}]
main()
"""


def test_the_process_of_a_mount_starts_before_the_options_are_converted() -> None:
    program = _EARLY.format(words=["/somewhere", "--write-back", "--patience", "1s"])
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "/somewhere False\n"


@pytest.mark.parametrize("words", [["/somewhere", "--help"], ["/somewhere", "--nonsense"], ["--local"]])
def test_no_process_starts_if_nothing_is_to_be_mounted(words: list[str]) -> None:
    command = [sys.executable, "-P", "-c", _EARLY.format(words=words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "/somewhere False" not in done.stdout
    assert "sage: " in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("program", "modules", "unwanted"),
    [
        (_COMMAND, "sys", ["pydantic", "httpx", "asyncio", "rich", "containerfs.config"]),
        (
            _COMMAND,
            "containerfs.cli.unmounting, containerfs.fuse.mount",
            ["pydantic", "httpx", "containerfs.fs.filesystem"],
        ),
        (
            _COMMAND,
            "containerfs.config, containerfs.cli.service, containerfs.mount.starting, containerfs.fs.options",
            ["httpx", "containerfs.client", "containerfs.api.models", "containerfs.fs.filesystem"],
        ),
        (_COMMAND, "containerfs.cli.session", ["starlette", "sqlalchemy", "uvicorn"]),
        (
            _MOUNT,
            "containerfs.mount.service, containerfs.fs.open, containerfs.fuse.serving",
            [
                *("typer", "rich", "pygments", "click", "pydantic_settings", "containerfs.cli", "containerfs.config"),
                *("asyncio", "html", "starlette", "sqlalchemy"),
            ],
        ),
        (
            _MOUNT,
            "containerfs.server.options, containerfs.server.run",
            ["pydantic_settings", "containerfs.cli", "containerfs.config", "sqlalchemy.dialects.postgresql", "alembic"],
        ),
    ],
    ids=["any", "unmount", "mount", "client", "process of a mount", "embedded store"],
)
def test_nothing_is_imported_that_is_not_needed(program: str, modules: str, unwanted: list[str]) -> None:
    command = [sys.executable, "-P", "-c", program.format(modules=modules, unwanted=unwanted)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[1:] == [""]
