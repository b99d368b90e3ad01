"""What the wire and the server allow: curl, one process and one connection, without a file system."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from math import inf
from pathlib import Path

from benchmarks.delay import delayed
from benchmarks.processes import timed
from benchmarks.report import Samples
from benchmarks.targets import ContainerServer

_NAME = "curl"


def columns() -> list[str]:
    """Its column, where it is installed."""
    return [_NAME] if shutil.which(_NAME) else []


def samples(repetitions: int, measure: Callable[[], float]) -> Samples:
    """What it takes, if it is installed."""
    return {name: [measure() for _ in range(repetitions)] for name in columns()}


def uploaded(server: ContainerServer, files: Iterable[Path], prefix: str, round_trip: float = 0.0) -> float:
    """Seconds of one POST after the other. Source: curl(1), --next."""
    with delayed(server.port, round_trip) as line:
        url = f"http://127.0.0.1:{line.port}/v1/containers/{server.container.id}/files"
        return _timed(f'url = "{url}"\nform = "file=@{path};filename={prefix}{path.name}"' for path in files)


def downloaded(server: ContainerServer, file_ids: Iterable[str], round_trip: float = 0.0, rate: float = inf) -> float:
    """Seconds of one GET after the other."""
    with delayed(server.port, round_trip, rate) as line:
        url = f"http://127.0.0.1:{line.port}/v1/containers/{server.container.id}/files"
        return _timed(f'url = "{url}/{file_id}/content"' for file_id in file_ids)


def file_ids(server: ContainerServer, prefix: str) -> list[str]:
    """Those of the files of which the path begins so, below the directory that is worked in."""
    listed = server.client.containers.files.list(server.container.id)
    return [file.id for file in listed if (file.path or "").removeprefix("/mnt/data/").startswith(prefix)]


def _timed(requests: Iterable[str]) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".curl") as config:
        every = "silent\nshow-error\nfail\noutput = /dev/null\n"
        config.write("\nnext\n".join(every + request for request in requests))
        config.flush()
        return timed(_NAME, "--config", os.fspath(config.name))
