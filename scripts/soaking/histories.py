"""Histories of the model (``tests/model``), each time with another seed."""

import os
import subprocess
import sys
from pathlib import Path

_EXAMPLES = 25  # histories of each test at a time
_LIMIT = 1800.0  # seconds for them


def play(seed: int, directory: Path) -> str | None:
    """Histories of every test of the model, whose output is kept in ``directory``; returns its end if one failed."""
    numbers = {"MODEL_EXAMPLES": str(_EXAMPLES), "MODEL_SEED": str(seed * _EXAMPLES)}  # no two rounds share a history
    command = [sys.executable, "-m", "pytest", "tests/model", "-q", "--timeout=0", f"--hypothesis-seed={seed}"]
    with (directory / "pytest.log").open("w") as log:
        root = Path(__file__).parents[2]
        done = subprocess.run(command, cwd=root, env=os.environ | numbers, stdout=log, stderr=log, timeout=_LIMIT)
    return (directory / "pytest.log").read_text()[-1000:] if done.returncode else None
