"""``containerfs unmount``: what it shows, whom it names, and when the mount stays."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.faults import upload_of
from tests.faults.mounting import WRITE_BACK, mounted, unmount, write
from tests.faults.service import Service
from tests.faults.test_status import half_way
from tests.fuse.mounted import Home, Mount, eventually
from tests.fuse.namespace import namespace
from tests.fuse.terminal import terminal

MiB = 1 << 20
LONG = ("--patience", "60s")


@contextmanager
def using(*command: str | Path, **options: str | Path) -> Iterator[int]:
    """A program that runs within the block, once it has said that it is ready."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*map(os.fspath, command)], cwd=options.get("cwd"), **pipes) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()


def test_a_mount_that_is_not_done_in_time_stays(service: Service, home: Home, box: str) -> None:
    gate = service.proxy.gate()
    service.proxy.on(upload_of("file"), half_way(gate))
    with mounted(service, home, WRITE_BACK, *LONG) as mount:
        (mount / box).mkdir()
        write(mount / box / "file", bytes(4 * MiB))
        said = home.fails("containerfs", "unmount", "--timeout", "200ms", mount.path)
        assert said.startswith(f"containerfs unmount: still uploading 1 file: {box}/file (4.2 MB); the mount stays: ")
        assert "--timeout" in said
        assert "--lazy" in said
        assert os.listdir(mount / box) == ["file"]
        gate.open()
        unmount(mount)
    service.comes_to_hold(box, {"file": bytes(4 * MiB)})


def test_lazily_it_goes_on_in_the_background_and_the_next_mount_shows_that(
    service: Service, home: Home, box: str
) -> None:
    gate = service.proxy.gate()
    service.proxy.on(upload_of("file"), half_way(gate))
    with mounted(service, home, WRITE_BACK, *LONG) as mount:
        (mount / box).mkdir()
        write(mount / box / "file", bytes(4 * MiB))
        with mount.ended():
            said = home.run("containerfs", "unmount", "--timeout", "0s", "--lazy", mount.path)
            assert said == (
                f"Detached {mount.path}; process {mount.pid} goes on: still uploading 1 file: {box}/file (4.2 MB)\n"
            )
            assert os.listdir(mount.path) == []
            with mounted(service, home, at=home.path / "next") as following:
                note = f"Process {mount.pid}, of another mount of this service, still uploads {box}/file\n"
                assert following.said.endswith(note)
                shown = home.run("containerfs", "status", following.path)
                assert f"  {box}/file  4.2 MB  uploaded by process {mount.pid}, of another mount" in shown
                gate.open()
                eventually(lambda: not following.status()["uploads"]["elsewhere"], "it is uploaded")
    service.comes_to_hold(box, {"file": bytes(4 * MiB)})


def test_a_mount_inside_a_mount_is_named(service: Service, home: Home, box: str, tmp_path: Path) -> None:
    with mounted(service, home) as mount:
        inside = mount / box / "inside"
        inside.mkdir(parents=True)
        with Home(tmp_path / "other").mounted("--url", service.url, at=inside):
            said = home.fails("containerfs", "unmount", mount.path)
            assert said == (f"containerfs unmount: {inside} is mounted inside {mount.path}: unmount that first\n")


def test_a_mount_in_use_names_the_programs(service: Service, home: Home, box: str) -> None:
    opens = "import sys; file = open(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    maps = opens.replace("print", "import mmap; kept = mmap.mmap(file.fileno(), 0, prot=1); file.close(); print")
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        write(mount / box / "file", b"content")
        stays = ("sh", "-c", "echo ready; read -r _")
        uses = {
            "its working directory": using(*stays, cwd=mount / box),
            f"{mount / box / 'file'}": using(sys.executable, "-c", opens, mount / box / "file"),
            f"{mount / box}/file": using(sys.executable, "-c", maps, mount / box / "file"),
        }
        for how, program in uses.items():
            with program as pid:
                said = home.fails("containerfs", "unmount", mount.path)
                assert said.startswith(f"containerfs unmount: {mount.path} is in use by ")
                assert f"(process {pid}: {how})" in said
        with using(*stays, cwd=mount / box) as pid:
            said = home.run("containerfs", "unmount", "--lazy", mount.path)
            assert f"still used by sh (process {pid}: its working directory)" in said
            assert os.listdir(mount.path) == []
        with mount.ended():
            pass


def test_another_mount_namespace_that_holds_it_is_named_at_once(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount, mount.ended(), namespace("", holding=mount.path) as prefix:
        holder = prefix[2]
        said = home.fails("containerfs", "unmount", mount.path)
        assert said.startswith("containerfs unmount: unmounted here; another mount namespace still holds it: ")
        assert f"(process {holder}), at " in said


def test_it_shows_on_a_terminal_how_the_uploads_get_on(service: Service, home: Home, box: str, tmp_path: Path) -> None:
    gate = service.proxy.gate()
    service.proxy.on(upload_of("file"), half_way(gate))
    with mounted(service, home, WRITE_BACK, *LONG) as mount, terminal(tmp_path) as screen:
        (mount / box).mkdir()
        write(mount / box / "file", bytes(4 * MiB))
        with mount.ended():
            screen.start(home, "containerfs", "unmount", mount.path)
            screen.shows("uploading 1 file")
            screen.shows("/4.2 MB")
            gate.open()
            screen.shows("ended with 0")
            assert "uploading" not in screen.last


NOT_LOOKED_FOR = """
import sys
if "containerfs.mount" in sys.orig_argv:
    from containerfs.fs import breaker
    breaker._FIRST_PAUSE = 1000.0
"""


@pytest.mark.parametrize("end", ["unmount", "sync"])
def test_a_service_that_has_just_returned_is_looked_for(
    service: Service, home: Home, box: str, tmp_path: Path, end: str
) -> None:
    """Here by whoever wants everything on it, and by nobody else."""
    (tmp_path / "sitecustomize.py").write_text(NOT_LOOKED_FOR)
    environment = {"PYTHONPATH": str(tmp_path)}
    with mounted(service, home, WRITE_BACK, "--patience", "1s", env=environment) as mount:
        (mount / box).mkdir()
        with service.proxy.down():
            write(mount / box / "file", b"content")
            eventually(lambda: _is_known_to_be_down(mount), "the service is known to be down")
        if end == "sync":
            home.run("containerfs", "sync", mount / box)
            service.comes_to_hold(box, {"file": b"content"})
        unmount(mount)
    service.comes_to_hold(box, {"file": b"content"})


def _is_known_to_be_down(mount: Mount) -> bool:
    return any("in the background" in each["reason"] for each in mount.status()["uploads"]["failed"])
