"""A machine to set up: a copy of the checkout's scripts, and a PATH that holds only what a test puts there."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = "sh dirname cat cut env flock grep mkdir sed sha256sum tr touch chmod"


class Machine:
    """The scripts in `checkout`, run with the commands in `bin` alone; commands append what they do to `log`."""

    def __init__(self, home: Path) -> None:
        self.checkout = home / "check out"
        self.bin = home / "bin"
        self.log = home / "log"
        for directory in (self.checkout, self.bin):
            directory.mkdir()
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.checkout)
        shutil.copytree(ROOT / "scripts", self.checkout / "scripts")
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is not installed"))

    def command(self, name: str, script: str) -> None:
        """Put a command in place: `script` is the body of a shell script, which finds the log's path in $log."""
        path = self.bin / name
        path.write_text(f"#!{self.bin}/sh\nlog='{self.log}'\n{script}\n")
        path.chmod(0o755)

    def run(self, script: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.checkout / "scripts" / script, *args],
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def logged(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)
