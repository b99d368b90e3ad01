"""Types: a program that uses every method passes ``mypy --strict``, and one that misuses them does not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("typed_program.py")

MISUSES = {
    "client.containers.create()": 'Missing named argument "name"',
    "client.containers.create('n')": "Too many positional arguments",
    "client.containers.create(name=7)": 'Argument "name"',
    "client.containers.create(name='n', expires=7)": 'Unexpected keyword argument "expires"',
    "client.containers.retrieve('c', timeout='long')": 'Argument "timeout"',
    "client.containers.list(order='newest')": 'Argument "order"',
    "client.containers.files.retrieve('c')": "No overload variant",
    "client.containers.files.create('c', file='a path')": 'Argument "file"',
    "client.containers.retrieve('c').nam": '"Container" has no attribute "nam"',
    "len(client.containers.files.delete('c', 'f'))": 'Argument 1 to "len"',
    "client.containers.update": 'has no attribute "update"',
    "aclient.containers.retrieve('c').name": 'has no attribute "name"',
}


def check(program: Path, cache: Path) -> list[str]:
    """What mypy has to say about a program."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", str(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_a_program_that_uses_every_method_is_well_typed(cache: Path) -> None:
    assert check(PROGRAM, cache) == ["Success: no issues found in 1 source file"]


def test_misuse_is_found(cache: Path, tmp_path: Path) -> None:
    program = tmp_path / "misuse.py"
    head = "from containerfs import AsyncClient, Client\nclient = Client()\naclient = AsyncClient()\n"
    program.write_text(head + "".join(f"{statement}\n" for statement in MISUSES))
    complaints = check(program, cache)
    for line, (statement, expected) in enumerate(MISUSES.items(), start=4):
        assert any(f":{line}: error: " in said and expected in said for said in complaints), (statement, complaints)
