"""``containerfs status``: what goes up and down, what failed, and what would help, for people and for programs."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.faults.exchange import Exchange, Gate
from tests.faults.faults import content, refuses, upload_of
from tests.faults.mounting import WRITE_BACK, mounted, settled, unmount_in_vain, write
from tests.faults.service import Service
from tests.fuse.mounted import Home, Mount, eventually
from tests.fuse.terminal import terminal

MiB = 1 << 20
ALWAYS = float("inf")


def half_way(gate: Gate) -> Any:
    """An upload stops in its middle until the gate opens."""

    def fault(exchange: Exchange) -> None:
        exchange.request.read_half()
        gate.wait()
        exchange.answer(exchange.forward())

    return fault


def half_down(gate: Gate) -> Any:
    """A download stops in its middle until the gate opens."""

    def fault(exchange: Exchange) -> None:
        encoded = exchange.forward().encoded()
        exchange.request.stream.send(encoded[: len(encoded) // 2])
        gate.wait()
        exchange.request.stream.send(encoded[len(encoded) // 2 :])

    return fault


def told(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(mount.home.run("containerfs", "status", "--json", mount.path))
    return found


def shown(mount: Mount) -> list[str]:
    """The lines for people."""
    return mount.home.run("containerfs", "status", mount.path).splitlines()


def test_an_upload_and_a_download_under_way(service: Service, home: Home, box: str) -> None:
    service.put(service.create(box), "down", bytes(48 * MiB))
    up, down = service.proxy.gate(), service.proxy.gate()
    service.proxy.on(upload_of("up"), half_way(up), times=ALWAYS)
    service.proxy.on(content, half_down(down), times=ALWAYS)
    with mounted(service, home, WRITE_BACK, "--patience", "60s") as mount:
        write(mount / box / "up", bytes(64 * MiB))
        up.reached()
        reading = os.open(mount / box / "down", os.O_RDONLY)
        os.pread(reading, 1, 0)
        document = told(mount)
        (upload,), (download,) = document["uploads"]["files"], document["downloads"]
        assert (upload["name"], upload["bytes"]) == (f"{box}/up", 64 * MiB)
        assert 0 < upload["sent"] < 64 * MiB
        assert (download["name"], download["bytes"]) == (f"{box}/down", 48 * MiB)
        assert 0 < download["received"] < 48 * MiB
        lines = shown(mount)
        (line,) = (line for line in lines if f"{box}/up" in line)
        assert " of 67.1 MB" in line
        assert "uploads: 1 under way, 0 waiting, 0 failed" in lines
        assert "downloads: 1 under way" in lines
        os.close(reading)
        up.open()
        down.open()
        settled(mount)
        assert told(mount)["uploads"]["files"] == []


def test_a_failure_says_why_and_what_would_help(service: Service, home: Home, box: str) -> None:
    service.proxy.on(upload_of("large"), refuses(413, "too large for us"), times=ALWAYS)
    service.proxy.on(upload_of("busy"), refuses(503, "busy"), times=ALWAYS)
    with mounted(service, home, WRITE_BACK, "--patience", "1s") as mount:
        (mount / box).mkdir()
        write(mount / box / "large", b"content")
        write(mount / box / "busy", b"content")
        eventually(lambda: len(told(mount)["uploads"]["failed"]) == 2, "both have failed")
        (large,) = (line for line in shown(mount) if f"{box}/large" in line)
        assert "too large for us" in large
        assert "not tried again by itself: make the file smaller" in large
        eventually(
            lambda: any(f"{box}/busy" in line and "tried again in " in line for line in shown(mount)), "it waits"
        )
        unmount_in_vain(mount)


def test_when_containers_end_is_shown(service: Service, home: Home, box: str) -> None:
    with mounted(service, home, "--expires-after", "20m") as mount:
        (mount / box).mkdir()
        (ending,) = (each for each in told(mount)["endings"] if each["container"] == box)
        assert (ending["soon"], ending["unless_used"]) == (False, True)
        assert f"  {box} in 20m, unless it is used before" in shown(mount)


def test_it_redraws_on_a_terminal(service: Service, home: Home, box: str, tmp_path: Path) -> None:
    gate = service.proxy.gate()
    service.proxy.on(upload_of("file"), half_way(gate), times=ALWAYS)
    with mounted(service, home, WRITE_BACK, "--patience", "60s") as mount, terminal(tmp_path) as screen:
        (mount / box).mkdir()
        screen.start(home, "containerfs", "status", "--watch", "--interval", "100ms", mount.path)
        screen.shows("uploads: 0 under way")
        write(mount / box / "file", bytes(4 * MiB))
        screen.shows("uploads: 1 under way")
        assert screen.last.count("uploads:") == 1
        gate.open()
        screen.shows("uploads: 0 under way")
        screen.type("C-c")
        screen.shows("ended with 130")
        assert "Traceback" not in screen.last
        settled(mount)


def test_all_mounts_of_the_user(service: Service, home: Home, tmp_path: Path) -> None:
    second = Home(tmp_path / "second")
    with mounted(service, home) as one, mounted(service, second, at=tmp_path / "with space") as two:
        listed = {each["mountpoint"]: each for each in json.loads(home.run("containerfs", "status", "--json"))}
        assert {str(one.path), str(two.path)} <= set(listed)
        assert listed[str(two.path)]["pid"] == two.pid
        (line,) = (line for line in home.run("containerfs", "status").splitlines() if str(two.path) in line)
        assert line.endswith("0 under way, 0 waiting, 0 failed")
        two.kill()
        (line,) = (line for line in home.run("containerfs", "status").splitlines() if str(two.path) in line)
        assert "Transport endpoint is not connected; 'containerfs unmount' takes it away" in line
        home.run("containerfs", "unmount", two.path)


def test_a_process_that_is_stopped_holds_nobody_up(service: Service, home: Home) -> None:
    with mounted(service, home) as mount:
        os.kill(mount.pid, signal.SIGSTOP)
        try:
            said = home.fails("containerfs", "status", mount.path)
        finally:
            os.kill(mount.pid, signal.SIGCONT)
        assert said == f"containerfs status: {mount.path} does not answer: not within 10 s\n"
