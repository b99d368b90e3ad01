"""Types: a program that uses every method passes ``mypy --strict`` and pyright, and one that misuses them does not."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("typed_program.py")

# What is said of parts of these depends on mypy's version.
_EXPIRY = "expires_after|TypedDict"
_POLICY = "network_policy|TypedDict"

MISUSES = {
    "client.containers.create()": 'Missing named argument "name"',
    "client.containers.create('n')": "Too many positional arguments",
    "client.containers.create(name=7)": 'Argument "name"',
    "client.containers.create(name='n', expires=7)": 'Unexpected keyword argument "expires"',
    "client.containers.retrieve('c', timeout='long')": 'Argument "timeout"',
    "client.containers.list(order='newest')": 'Argument "order"',
    "client.containers.files.retrieve('c')": "No overload variant",
    "client.containers.files.create('c', file='a path')": "No overload variant",
    "client.containers.files.create('c')": "No overload variant",
    "client.containers.files.create('c', file=b'', file_id='f')": "No overload variant",
    "client.containers.files.create('c', file=None)": "No overload variant",
    "aclient.containers.files.create('c')": "No overload variant",
    "client.containers.create(name='n', expires_after={'anchor': 'created', 'days': 7})": _EXPIRY,
    "client.containers.create(name='n', expires_after={'anchor': 'created_at', 'minutes': 7})": _EXPIRY,
    "client.containers.create(name='n', expires_after={'anchor': 'last_active_at', 'minutes': '20'})": _EXPIRY,
    "client.containers.create(name='n', expires_after={'anchor': 'last_active_at'})": _EXPIRY,
    "client.containers.create(name='n', expires_after={'minutes': 20})": _EXPIRY,
    "aclient.containers.create(name='n', expires_after={'anchor': 'x', 'minutes': 20})": _EXPIRY,
    "client.containers.create(name='n', memory_limit='2g')": "memory_limit",
    "client.containers.create(name='n', network_policy={'type': 'allowlist'})": _POLICY,
    "client.files.create(file=b'', purpose='p', expires_after={'anchor': 'created_at', 'days': 7})": _EXPIRY,
    "client.files.create(file=b'', purpose='p', expires_after={'anchor': 'x', 'seconds': 7})": _EXPIRY,
    "client.containers.retrieve('c').nam": '"Container" has no attribute "nam"',
    "len(client.containers.files.delete('c', 'f'))": 'Argument 1 to "len"',
    "client.containers.update": 'has no attribute "update"',
    "aclient.containers.retrieve('c').name": 'has no attribute "name"',
}


def mypy(*programs: Path) -> dict[tuple[str, int], str]:
    """What mypy complains of, by the program's name and line."""
    command = ["mypy", "--strict", "--config-file=", "--cache-dir=/dev/null", "--output=json", *map(str, programs)]
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return by_line((each["file"], each["line"], each["message"]) for each in found if each["severity"] == "error")


def pyright(*programs: Path) -> dict[tuple[str, int], str]:
    """What pyright complains of, by the program's name and line."""
    command = ["pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, programs)]
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return by_line(
        (each["file"], each["range"]["start"]["line"] + 1, each["message"])
        for each in found
        if each["severity"] == "error" and each["rule"] != "reportUnusedCoroutine"
    )


def by_line(complaints: Iterable[tuple[str, int, str]]) -> dict[tuple[str, int], str]:
    """Several complaints of one line are one text."""
    found: dict[tuple[str, int], str] = {}
    for file, line, message in complaints:
        place = (Path(file).name, line)
        found[place] = f"{found.get(place, '')}{message}\n"
    return found


@pytest.mark.parametrize("check", [mypy, pyright])
def test_types(check: Callable[..., dict[tuple[str, int], str]], tmp_path: Path) -> None:
    misuse = tmp_path / "misuse.py"
    head = "from containerfs import AsyncClient, Client\nclient = Client()\naclient = AsyncClient()\n"
    misuse.write_text(head + "".join(f"{statement}\n" for statement in MISUSES))
    complaints = check(PROGRAM, misuse)
    missed = [statement for line, statement in enumerate(MISUSES, start=4) if ("misuse.py", line) not in complaints]
    assert missed == []
    assert {file for file, _ in complaints} == {"misuse.py"}
    if check is mypy:
        for line, expected in enumerate(MISUSES.values(), start=4):
            assert re.search(expected, complaints["misuse.py", line])
