"""Commands of the documentation, run as they are written there but for names."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.server.conftest import LARGE, answered, create
from tests.server.live import READY
from tests.server.postgres import PROGRAMS

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """What is fenced on a page of the documentation, and is in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


class Shell:
    """Runs commands in a directory, with this environment beside the test's own."""

    def __init__(self, directory: Path, **environment: str) -> None:
        path = f"{Path(sys.executable).parent}:{PROGRAMS[-1]}:{os.environ['PATH']}"
        self._directory, self._environment = directory, {**os.environ, "PATH": path, **environment}

    def run(self, *commands: str) -> str:
        """What they print."""
        command = ["sh", "-ec", "\n".join(commands)]
        done = subprocess.run(
            command,
            cwd=self._directory,
            env=self._environment,
            check=True,
            timeout=60,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    @contextlib.contextmanager
    def serving(self, commands: str) -> Iterator[str]:
        """The address of the server that the last of the commands starts; on a free port, whatever they say."""
        *before, serve = commands.replace("\\\n", "").splitlines()
        command = ["sh", "-ec", "\n".join([*before, f"exec {serve}"])]
        here = {**self._environment, "CONTAINERFS_PORT": "0"}
        with subprocess.Popen(command, cwd=self._directory, env=here, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield next(line.removeprefix(READY).strip() for line in process.stdout if line.startswith(READY))
            finally:
                process.terminate()
                assert process.wait(60) == 0


def use(address: str, key: str = "") -> None:
    """Create, upload and download."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=address, timeout=60, headers=headers) as http:
        path = f"/containers/{create(http)['id']}/files"
        file = answered(http.post(path, files={"file": LARGE}))["id"]
        assert http.get(f"{path}/{file}/content", follow_redirects=True).content == LARGE
