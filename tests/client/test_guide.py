"""The programs in docs/CLIENT.md run, and what it says of the errors is what they are."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.api import errors
from tests.server.live import LiveServer, running_server

GUIDE = (Path(__file__).parents[2] / "docs" / "CLIENT.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("guide") / "store") as server:
        yield server


@pytest.mark.parametrize("program", PROGRAMS, ids=[str(number) for number in range(len(PROGRAMS))])
def test_a_program_of_the_guide_runs(server: LiveServer, tmp_path: Path, program: str) -> None:
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "-", "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_guide_has_programs() -> None:
    assert len(PROGRAMS) == 13


def test_the_guide_names_every_error() -> None:
    assert {name for name in errors.__all__ if name not in GUIDE} == set()
