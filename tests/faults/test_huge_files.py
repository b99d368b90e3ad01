"""Files larger than anybody will ever store, as programs make them with one call: nobody waits until they are read."""

import errno
import os

import pytest

from tests.faults.faults import ALWAYS, refuses_unread, upload_of
from tests.faults.mounting import WRITE_BACK, Task, agrees, failed, mounted, unmount_in_vain, write
from tests.faults.service import Service
from tests.fuse.mounted import Home, eventually

_HUGE = 1 << 40  # bytes; reading them takes a quarter of an hour
_LITTLE = 1 << 20


@pytest.mark.parametrize("options", [[], [WRITE_BACK]], ids=["waits", "writes back"])
def test_it_is_refused(service: Service, home: Home, box: str, options: list[str]) -> None:
    refused = None if options else errno.EFBIG
    service.proxy.on(upload_of("huge"), refuses_unread(413), times=ALWAYS)
    with mounted(service, home, *options) as mount:
        huge = mount / box / "huge"
        (mount / box).mkdir()
        assert Task(lambda: _make(huge, _HUGE)).ended() == refused
        eventually(lambda: failed(mount) == [f"{box}/huge"], "it is listed as failed")
        assert write(mount / box / "small", b"small") is None
        service.comes_to_hold(box, {"small": b"small"})
        assert Task(lambda: _append(huge, b"more")).ended() == refused
        there = huge.stat()
        assert there.st_size == _HUGE + len(b"more")
        assert there.st_blocks * 512 < _LITTLE
        assert f"{box}/huge" in unmount_in_vain(mount)
    with mounted(service, home, *options) as mount:
        eventually(lambda: failed(mount) == [f"{box}/huge"], "it is listed as failed")
        (mount / box / "huge").unlink()
        agrees(mount, service, box, {"small": b"small"})


def _make(path: os.PathLike[str], size: int) -> None:
    with open(path, "wb") as file:
        file.truncate(size)


def _append(path: os.PathLike[str], content: bytes) -> None:
    with open(path, "ab") as file:
        file.write(content)
