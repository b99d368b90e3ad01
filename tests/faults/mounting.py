"""Mounts over a service that fails, and how they are to end."""

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.service import Service
from tests.fuse.mounted import Home, Mount, errno_of, eventually

WRITE_BACK = "--write-back"


@contextmanager
def mounted(service: Service, home: Home, *options: str | Path, **named: Any) -> Iterator[Mount]:
    """A mount, of little patience unless told. Whoever ends it otherwise than well does so within the block."""
    patience = [] if "--patience" in options else ["--patience", "4s"]
    with home.mounted("--url", service.url, *patience, *options, **named) as mount:
        yield mount
        if not mount.unmounted:
            unmount(mount)


def unmount(mount: Mount) -> None:
    """Unmount, with everything on the service and nothing to complain about."""
    with mount.ended():
        mount.home.run("containerfs", "unmount", mount.path)


def unmount_in_vain(mount: Mount, *options: str) -> str:
    """Unmount with something left behind; returns what is said of it."""
    with mount.ended():
        return mount.home.fails("containerfs", "unmount", mount.path, *options)


def uploads(mount: Mount) -> dict[str, Any]:
    """What ``containerfs status`` tells of uploads."""
    told: dict[str, Any] = json.loads(mount.home.run("containerfs", "status", "--json", mount.path))["uploads"]
    return told


def failed(mount: Mount) -> list[str]:
    """The names of what is listed as failed, without the reasons."""
    return sorted(each["name"] for each in mount.status()["uploads"]["failed"])


def is_idle(mount: Mount) -> bool:
    told = mount.status()["uploads"]
    return not told["pending"] and not told["failed"]


def settled(mount: Mount, limit: float = 40.0) -> None:
    """Have everything tried that is due, until nothing is."""

    def idle() -> bool:
        with suppress(OSError):
            os.setxattr(mount.path, "user.containerfs.sync", b"")
        return is_idle(mount)

    try:
        eventually(idle, "nothing is due any more", limit)
    finally:
        told = mount.status()["uploads"]
        assert (told["pending"], told["failed"]) == (0, [])


def agrees(mount: Mount, service: Service, container: str, wanted: dict[str, bytes]) -> None:
    """After all failures: nothing is due, the service holds exactly this, each file once, and the mount shows it."""
    service.proxy.mend()
    settled(mount)
    service.comes_to_hold(container, wanted)
    shows(mount, container, wanted)


def shows(mount: Mount, container: str, wanted: dict[str, bytes]) -> None:
    """What programs find in a container is exactly this."""
    top = mount.anew(mount / container)
    assert {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()} == wanted


def stays(service: Service, home: Home, container: str, wanted: dict[str, bytes], rounds: int = 1) -> None:
    """Further mounts, on the same cache directory, show the same, and change nothing at the service."""
    for _ in range(rounds):
        with mounted(service, home) as mount:
            settled(mount)
            shows(mount, container, wanted)
        service.comes_to_hold(container, wanted)


def write(path: Path, content: bytes) -> int | None:
    """Write a file and close it; returns the number of the error that any step failed with."""
    return errno_of(lambda: path.write_bytes(content))


def close(descriptor: int) -> int | None:
    return errno_of(lambda: os.close(descriptor))


@dataclass
class Task:
    """Something that a thread does, for actions that wait for the service."""

    action: Callable[[], object]
    error: int | None = None
    failure: BaseException | None = None
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def ended(self, limit: float = 30.0) -> int | None:
        """Wait for its end; returns the number of the error that it failed with. Raises what else went wrong."""
        self._thread.join(limit)
        assert not self._thread.is_alive(), f"not within {limit:g} s"
        if self.failure:
            raise self.failure
        return self.error

    def _run(self) -> None:
        try:
            self.error = errno_of(self.action)
        except BaseException as failure:
            self.failure = failure


def recover(home: Home, *command: str | Path) -> str:
    """What ``containerfs recover`` prints."""
    action, *rest = command
    return home.run("containerfs", "recover", action, *rest, "--cache-dir", home.cache_dir)


def recoverable(home: Home) -> list[dict[str, Any]]:
    """What could not be sent, as ``containerfs recover list`` tells it."""
    found: list[dict[str, Any]] = json.loads(recover(home, "list", "--json"))
    return sorted(found, key=lambda each: str(each["name"]))


DEAD = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV}
"""What programs get from a mount that is gone."""
