"""How mounts end and begin: what waits is named, and no mount takes what is another's."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.faults import ALWAYS, anything, refuses, upload_of
from tests.faults.mounting import (
    DEAD,
    WRITE_BACK,
    agrees,
    close,
    failed,
    mounted,
    recoverable,
    settled,
    shows,
    unmount_in_vain,
    uploads,
    write,
)
from tests.faults.service import Service
from tests.fuse.mounted import FUSERMOUNT, PROGRAM_LIMIT, Home, Mount, eventually

CONTENT = b"content that is to be found again" * 100


@contextmanager
def in_the_foreground(service: Service, home: Home, *options: str) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A mount whose exit status can be had."""
    at = home.path / "mnt"
    command = ["containerfs", "mount", str(at), "--foreground", "--url", service.url, *options]
    process = subprocess.Popen(
        [*command, "--cache-dir", str(home.cache_dir)],
        env=home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Mounted ")
        yield at, process
    finally:
        subprocess.run([FUSERMOUNT, "-uz", at], capture_output=True)
        process.kill()
        process.communicate(timeout=PROGRAM_LIMIT)


def test_sigterm_while_a_synced_file_is_open(service: Service, home: Home, box: str) -> None:
    service.create(box)
    with in_the_foreground(service, home) as (at, process):
        opened = os.open(at / box / "open", os.O_CREAT | os.O_WRONLY)
        os.write(opened, CONTENT)
        os.fsync(opened)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PROGRAM_LIMIT)
        assert close(opened) in DEAD | {None}
    assert process.returncode != 0
    assert f"{box}/open" in errors.splitlines()[-1]
    with mounted(service, home) as mount:
        agrees(mount, service, box, {"open": CONTENT})


def test_sigterm_with_everything_stored(service: Service, home: Home, box: str) -> None:
    service.create(box)
    with in_the_foreground(service, home, WRITE_BACK) as (at, process):
        (at / box / "file").write_bytes(CONTENT)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PROGRAM_LIMIT)
    assert process.returncode == 0
    service.comes_to_hold(box, {"file": CONTENT})


def test_sigterm_with_what_the_service_refuses(service: Service, home: Home, box: str) -> None:
    service.create(box)
    with in_the_foreground(service, home) as (at, process):
        service.proxy.on(upload_of(), refuses(413), times=ALWAYS)
        assert write(at / box / "file", CONTENT) is not None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PROGRAM_LIMIT)
    assert process.returncode != 0
    assert f"{box}/file" in errors.splitlines()[-1]


def test_an_expired_container_with_uploads_due(service: Service, home: Home, box: str) -> None:
    """It is listed, by the name that the container had, and not sent for ever."""
    with mounted(service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        due = service.proxy.on(upload_of(), refuses(503), times=ALWAYS)
        assert write(mount / box / "inner file", CONTENT) is None
        due.reached()
        service.delete(box)
        service.proxy.mend()
        os.setxattr(mount.path, "user.containerfs.sync", b"")
        eventually(lambda: "503: " not in str(told := uploads(mount)) and not told["pending"], "it is given up")
        assert failed(mount) == [f"{box}/inner file"]
        assert f"{box}/inner file" in unmount_in_vain(mount)
    (entry,) = recoverable(home)
    assert (entry["name"], entry["size"]) == (f"{box}/inner file", len(CONTENT))
    before = len(service.proxy.uploads())
    with mounted(service, home) as mount:
        assert failed(mount) == [f"{box}/inner file"]
        assert box not in os.listdir(mount.path)
        (mount / f"{box} other").mkdir()
        agrees_apart(mount, service, f"{box} other")
        assert len(service.proxy.uploads()) - before <= 2  # one to see that it is gone, one of the other container
        assert f"{box}/inner file" in unmount_in_vain(mount)


def agrees_apart(mount: Mount, service: Service, container: str) -> None:
    """Other containers are not affected."""
    assert write(mount / container / "file", CONTENT) is None
    service.comes_to_hold(container, {"file": CONTENT})


@pytest.mark.parametrize("round", range(2))
def test_two_mounts_that_start_at_once_share_what_is_cached(service: Service, home: Home, box: str, round: int) -> None:
    with mounted(service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        for number in range(8):
            (mount / box / f"file {number}").write_bytes(CONTENT + b"%d" % number)
    wanted = {f"file {number}": CONTENT + b"%d" % number for number in range(8)}
    before = len(service.proxy.exchanges)
    places = [home.path / "one", home.path / "two"]
    options = ["--url", service.url, "--cache-dir", str(home.cache_dir)]
    starting = [
        subprocess.Popen(
            ["containerfs", "mount", str(place), *options],
            env=home.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in places
    ]
    with ExitStack() as stack:
        mounts = [stack.enter_context(adopted(home, place)) for place in places]
        assert [(each.communicate(timeout=60)[1], each.returncode) for each in starting] == [("", 0)] * 2
        for mount in mounts:
            mount.pid = mount.find_process()
            shows(mount, box, wanted)
        for mount in mounts:
            assert write(mount / box / mount.path.name, CONTENT) is None
        for mount in mounts:
            with mount.ended():
                home.run("containerfs", "unmount", mount.path)
    assert not [seen for seen in service.proxy.exchanges[before:] if seen.path.endswith("/content")]
    service.comes_to_hold(box, wanted | {"one": CONTENT, "two": CONTENT})


@contextmanager
def adopted(home: Home, path: Path) -> Iterator[Mount]:
    """A mount that another command makes, in any case taken away."""
    mount = Mount(path, home, path)
    try:
        yield mount
    finally:
        mount.release()


def test_another_key_takes_over_no_uploads(service: Service, home: Home, box: str) -> None:
    """What was written with one key is sent with that key, by its next mount."""
    service.create(box)
    first, second = {"OPENAI_API_KEY": "sk-first"}, {"OPENAI_API_KEY": "sk-second"}
    with mounted(service, home, WRITE_BACK, env=first) as mount:
        due = service.proxy.on(upload_of("of the first"), refuses(503), times=ALWAYS)
        assert write(mount / box / "of the first", CONTENT) is None
        due.reached()
        mount.kill()
    with mounted(service, home, env=second) as mount:
        settled(mount)
        assert write(mount / box / "of the second", CONTENT) is None
    service.comes_to_hold(box, {"of the second": CONTENT})
    with mounted(service, home, env=first) as mount:
        due.stop()
        agrees(mount, service, box, {"of the first": CONTENT, "of the second": CONTENT})
    senders = {upload.name: upload.request.headers["authorization"] for upload in service.proxy.uploads()}
    assert senders == {"of the first": "Bearer sk-first", "of the second": "Bearer sk-second"}


def test_the_service_is_down_for_a_while(service: Service, home: Home, box: str) -> None:
    """Connections are refused: what is written meanwhile is read meanwhile, and stored once afterwards."""
    wanted = {f"file {number}": b"%d" % number for number in range(10)}
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        with service.proxy.down():
            assert None not in {write(mount / box / name, content) for name, content in wanted.items()}
            assert {name: (mount / box / name).read_bytes() for name in wanted} == wanted
            listed = sorted(f"{box}/{name}" for name in wanted)
            eventually(lambda: failed(mount) == listed, "all are listed, but while they are tried again")
        agrees(mount, service, box, wanted)


def test_a_service_that_answers_nothing_well(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        service.proxy.on(anything, refuses(502), times=ALWAYS)
        assert write(mount / box / "file", CONTENT) is not None
        assert (mount / box / "file").read_bytes() == CONTENT
        agrees(mount, service, box, {"file": CONTENT})
