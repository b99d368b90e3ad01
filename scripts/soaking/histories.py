"""Histories of the model (``tests/model``), each time with another seed.

Who wants to be counted appends lines of JSON to the file that ``SOAK_COUNTS`` names: ``histories``, ``acknowledged``,
``kills``, ``lost``, ``doubled`` and ``wrong`` as numbers, ``faults`` as numbers by kind; each may be left out.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_EXAMPLES = 25  # histories of each test at a time
_LIMIT = 1800.0  # seconds for them


@dataclass
class Histories:
    """What came of some histories.

    Attributes:
        failure: the end of what was printed; None if all is well.
    """

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    failure: str | None = None


def play(seed: int, directory: Path) -> Histories:
    """Histories of every test of the model, whose output is kept in ``directory``."""
    counts = directory / "counts"
    environment = os.environ | {"MODEL_EXAMPLES": str(_EXAMPLES), "SOAK_COUNTS": str(counts)}
    command = [sys.executable, "-m", "pytest", "tests/model", "-q", "--timeout=0", f"--hypothesis-seed={seed}"]
    with (directory / "pytest.log").open("w") as log:
        root = Path(__file__).parents[2]
        status = subprocess.run(command, cwd=root, env=environment, stdout=log, stderr=log, timeout=_LIMIT).returncode
    done = Histories(seed)
    for line in counts.read_text().splitlines() if counts.exists() else ():
        fields = json.loads(line)
        done.faults.update(fields.pop("faults", {}))
        done.counts.update(fields)
    if status:
        done.failure = (directory / "pytest.log").read_text()[-1000:]
    return done
