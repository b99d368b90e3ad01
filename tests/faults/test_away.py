"""A service that does not answer: every operation ends, what is here is shown, and what passes costs no error."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.exchange import Exchange, Gate, Match
from tests.faults.faults import ALWAYS, anything, content, copy, deletion, is_away, look, making, upload_of
from tests.faults.mounting import Task, agrees, failed, mounted, settled
from tests.faults.network import Relay, Wire, may_be_root, relay, run_as_root, wire
from tests.faults.service import Service
from tests.fuse.mounted import Home, Mount, errno_of, eventually, tree
from tests.server.live import running_server

SOON = ("--patience", "2s", "--metadata-expiry", "0s", "--prefetch", "off")
PATIENT = ("--patience", "60s", "--metadata-expiry", "0s", "--prefetch", "off")
READERS = 200
SIZE = 200_000  # bytes, which no answer to anything but a read has

Silence = Callable[[Service], AbstractContextManager[None]]


@contextmanager
def held(service: Service, fault: Callable[[Gate], Callable[[Exchange], None]]) -> Iterator[None]:
    service.proxy.on(anything, fault(service.proxy.gate()), times=ALWAYS)
    yield
    service.proxy.mend()


@contextmanager
def lost_by_a_proxy(service: Service) -> Iterator[None]:
    service.proxy.on(anything, is_away, times=ALWAYS)
    yield
    service.proxy.mend()


@contextmanager
def refused(service: Service) -> Iterator[None]:
    with service.proxy.down():
        yield


SILENCES: dict[str, Silence] = {
    "accepts": lambda service: held(service, lambda gate: gate.before()),
    "after the head": lambda service: held(service, lambda gate: gate.in_answer(0.0)),
    "in the body": lambda service: held(service, lambda gate: gate.in_answer(0.5)),
    "refused": refused,
    "502": lost_by_a_proxy,
}


@pytest.fixture(params=SILENCES.values(), ids=SILENCES.keys())
def silence(request: pytest.FixtureRequest) -> Silence:
    return request.param  # type: ignore[no-any-return]


def filled(service: Service, box: str, *names: str) -> None:
    """A container with these files, which others have made."""
    container_id = service.create(box)
    for name in names:
        service.put(container_id, name, contents(name))


def contents(name: str) -> bytes:
    return name.encode() * (SIZE // len(name))


def test_every_operation_ends(service: Service, home: Home, box: str, silence: Silence) -> None:
    """Begun together or after others have waited; and what was listed and read before is shown."""
    names = ["cached", "kept", "read", "removed", "renamed", "truncated"]
    filled(service, box, *names)
    with mounted(service, home, *SOON) as mount:
        top = mount / box
        assert (top / "cached").read_bytes()
        assert sorted(os.listdir(top)) == names
        operations: dict[str, tuple[Callable[[], object], int | None]] = {
            "ls": (lambda: os.listdir(top), None),
            "stat": (lambda: os.stat(top / "kept"), None),
            "stat of nothing": (lambda: os.stat(top / "nothing"), errno.ENOENT),
            "read": (lambda: (top / "read").read_bytes(), errno.EIO),
            "read what is cached": (lambda: (top / "cached").read_bytes(), None),
            "write": (lambda: (top / "written").write_bytes(b"content"), errno.EIO),
            "rm": (lambda: os.unlink(top / "removed"), errno.EIO),
            "mv": (lambda: os.rename(top / "renamed", top / "new"), errno.EIO),
            "truncate": (lambda: os.truncate(top / "truncated", 0), errno.EIO),
            "mkdir": (lambda: (mount / f"{box} 2").mkdir(), errno.EIO),
            "rmdir": (lambda: top.rmdir(), errno.EIO),
            "chmod": (lambda: os.chmod(top / "kept", 0o600), None),
            "df": (lambda: os.statvfs(mount.path), None),
            "status": (mount.status, None),
        }
        expected = {name: error for name, (_, error) in operations.items()}
        with silence(service):
            tasks = {name: Task(operation) for name, (operation, _) in operations.items()}
            ended = {name: task.ended() for name, task in tasks.items()}
            moved = ended["mv"] is None  # where the service may have done it, it stands, and is finished later
            assert ended == expected | ({"mv": None} if moved else {})
            again = {name: Task(operation).ended() for name, (operation, _) in operations.items()}
            moved_again = again.pop("mv")
            assert moved_again in ((errno.ENOENT,) if moved else (errno.EIO, None))
            assert again == {name: error for name, error in expected.items() if name != "mv"}
            assert Task((top / "directory").mkdir).ended() is None
        eventually(lambda: errno_of((top / "read").read_bytes) is None, "the service is found to be back")
        settled(mount)
        assert (top / "written").read_bytes() == b"content"
        assert (top / "truncated").read_bytes() == b""
        names[names.index("renamed")] = "new" if moved or moved_again is None else "renamed"
        assert sorted(os.listdir(top)) == sorted([*names, "directory", "written"])


def test_what_a_listing_that_is_believed_answers(service: Service, home: Home, box: str) -> None:
    """What is known, or only this machine is to know, is asked of nobody; the rest fails, and leaves all as it was."""
    filled(service, box, "cached", "kept", "directory/file")
    filled(service, f"{box} never listed", "file")
    with mounted(service, home, "--patience", "2s", "--metadata-expiry", "1h", "--prefetch", "off") as mount:
        top = mount / box
        assert sorted(os.listdir(top)) == ["cached", "directory", "kept"]
        assert (top / "cached").read_bytes()
        with held(service, lambda gate: gate.before()):
            asked = len(service.proxy.exchanges)
            synced = os.open(top / "synced", os.O_CREAT | os.O_RDWR)
            at_once: list[Callable[[], object]] = [
                lambda: os.stat(top / "kept"),
                lambda: os.close(os.open(top / "kept", os.O_RDWR)),
                lambda: os.write(synced, b"synced"),
                lambda: os.fsync(synced),
                lambda: (top / ".part.abc123.tmp").write_bytes(b"temporary"),
                (top / "made").mkdir,
                (top / "made").rmdir,
                lambda: os.chown(top / "kept", os.getuid(), os.getgid()),
                lambda: os.utime(top / "directory", (1, 1)),
                lambda: os.getxattr(top / "kept", "user.containerfs.state"),
                lambda: os.pwrite(synced, b"S", 0),
            ]
            assert [Task(action).ended() for action in at_once] == [None] * len(at_once)
            assert not [exchange for exchange in service.proxy.exchanges[asked:] if exchange.name != ".part.abc123.tmp"]
            kept = os.open(top / "kept", os.O_WRONLY)
            in_vain: list[Callable[[], object]] = [
                lambda: os.listdir(mount / f"{box} never listed"),
                lambda: os.write(kept, b"changed"),
                lambda: os.close(synced),
            ]
            for _ in range(2):
                assert [Task(action).ended() for action in in_vain[:2]] == [errno.EIO] * 2
            assert Task(in_vain[2]).ended() == errno.EIO
            assert Task(lambda: os.close(kept)).ended() is None
            assert "Input/output error" in home.fails("containerfs", "sync", top)
            assert f"{box}/synced" in failed(mount)
        agrees(
            mount,
            service,
            box,
            {name: contents(name) for name in ("cached", "kept", "directory/file")}
            | {"synced": b"Synced", ".part.abc123.tmp": b"temporary"},
        )


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_content_that_stalls_fails_its_readers_and_no_others(
    service: Service, home: Home, box: str, part: float
) -> None:
    filled(service, box, "stalled", "other")
    stalled = service.proxy.gate()
    with mounted(service, home, *SOON) as mount:
        assert sorted(os.listdir(mount / box)) == ["other", "stalled"]
        service.proxy.on(content, stalled.in_answer(part), times=ALWAYS)
        readers = [Task((mount / box / "stalled").read_bytes) for _ in range(3)]
        assert [reader.ended() for reader in readers] == [errno.EIO] * 3
        assert Task((mount / box / "stalled").read_bytes).ended() == errno.EIO
        service.proxy.mend()
        eventually(lambda: errno_of((mount / box / "other").read_bytes) is None, "it is read")
        eventually(lambda: errno_of((mount / box / "stalled").read_bytes) is None, "it is read anew")


def test_what_is_here_waits_for_nobody(service: Service, home: Home, box: str) -> None:
    """Not behind 200 readers that the service keeps waiting, in no queue, and for no thread."""
    names = [f"file {number:03}" for number in range(READERS)]
    filled(service, box, "cached", "open", *names)
    with mounted(service, home, "--patience", "60s", "--metadata-expiry", "1h", "--prefetch", "off") as mount:
        top = mount / box
        assert len(os.listdir(top)) == READERS + 2
        assert (top / "cached").read_bytes()
        opened = os.open(top / "open", os.O_RDONLY)
        waiting = service.proxy.gate()
        service.proxy.on(content, waiting.before(), times=ALWAYS)
        readers = [Task((top / name).read_bytes) for name in names]
        waiting.reached(READERS)
        here: list[Callable[[], object]] = [
            (top / "cached").read_bytes,
            lambda: os.listdir(top),
            lambda: os.stat(top / names[0]),
            lambda: os.statvfs(mount.path),
            lambda: os.close(opened),
            mount.status,
            lambda: os.getxattr(top / names[0], "user.containerfs.state"),
            lambda: os.chmod(top / names[0], 0o600),
        ]
        assert [Task(action).ended() for action in here] == [None] * len(here)
        assert all(reader.running for reader in readers)
        waiting.open()
        assert {reader.ended() for reader in readers} == {None}


# Patience


def test_a_service_that_is_away_for_a_moment_costs_no_error(service: Service, home: Home, box: str) -> None:
    filled(service, box, "file", "moved", "removed")
    rule = service.proxy.on(anything, is_away, times=2)
    with mounted(service, home, *PATIENT) as mount:
        rule.reached(2)
        top = mount / box
        operations: list[tuple[Match, Callable[[], object]]] = [
            (look, lambda: os.listdir(top)),
            (content, (top / "file").read_bytes),
            (upload_of("new"), lambda: (top / "new").write_bytes(b"new")),
            (deletion, lambda: (top / "removed").unlink()),
            (copy, lambda: os.rename(top / "moved", top / "renamed")),
            (making, (mount / f"{box} 2").mkdir),
        ]
        rules = [service.proxy.on(match, is_away, times=2) for match, _ in operations]
        tasks = [Task(operation) for _, operation in operations]
        assert [task.ended() for task in tasks] == [None] * len(tasks)
        for rule in rules:
            rule.reached(2)
        assert service.names(box) == ["file", "new", "renamed"]


def test_a_restart_costs_no_error(service: Service, home: Home, box: str) -> None:
    """Nothing listens for a while."""
    filled(service, box, "file")
    with service.proxy.down():
        mounting, mounts = mounted(service, home, *PATIENT), list[Mount]()
        entering = Task(lambda: mounts.append(mounting.__enter__()))
        threading.Event().wait(1.0)
        assert entering.running
    assert entering.ended() is None
    (mount,) = mounts
    try:
        top = mount / box
        with service.proxy.down():
            tasks = [
                Task(lambda: os.listdir(top)),
                Task((top / "file").read_bytes),
                Task(lambda: (top / "new").write_bytes(b"new")),
            ]
            threading.Event().wait(1.0)
            assert all(task.running for task in tasks)
        assert [task.ended() for task in tasks] == [None] * len(tasks)
        assert service.names(box) == ["file", "new"]
    finally:
        mounting.__exit__(None, None, None)


def test_a_mount_does_not_wait_until_all_of_many_containers_are_listed(service: Service, home: Home) -> None:
    names = [f"one of many {number:03}" for number in range(101)]
    for name in names:
        service.create(name)
    rest = service.proxy.gate()
    service.proxy.on(lambda exchange: "after=" in exchange.request.target, rest.before(), times=ALWAYS)
    with mounted(service, home, *PATIENT) as mount:
        rest.reached()
        found: list[str] = []
        looking = Task(lambda: found.extend(os.listdir(mount.path)))
        assert looking.running
        rest.open()
        assert looking.ended() is None
        assert set(names) <= set(found)
        for name in names:
            service.delete(name)


# Interruption

LOOKING = ("os.listdir(top)", "os.stat(top + '/kept')", "open(top + '/new', 'w')")
CHANGING: dict[str, Match] = {
    "open(top + '/read', 'rb').read()": content,
    "os.write(os.open(top + '/written', os.O_WRONLY), b'new')": content,
    "open(top + '/closed', 'w').write('new')": upload_of("closed"),
    "os.unlink(top + '/from/removed')": deletion,
    "os.rename(top + '/in/moved', top + '/in/renamed')": copy,
    "os.mkdir(top + ' 2')": making,
}
"""Programs, and the request at which they wait for ever."""
PROGRAM = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); top = sys.argv[1]; "


def test_ctrl_c_ends_a_program_that_looks(service: Service, home: Home, box: str) -> None:
    filled(service, box, "kept")
    with mounted(service, home, *PATIENT) as mount:
        for code in LOOKING:
            hung = service.proxy.gate()
            service.proxy.on(anything, hung.before(), times=ALWAYS)
            with program(code, mount / box) as process:
                hung.reached()
                process.send_signal(signal.SIGINT)
                assert process.wait(30) == -signal.SIGINT
            service.proxy.mend()


def test_ctrl_c_ends_a_program_that_reads_or_changes(service: Service, home: Home, box: str) -> None:
    filled(service, box, "in/moved", "read", "from/removed", "written")
    with mounted(service, home, *PATIENT) as mount, ExitStack() as stack:
        hung = service.proxy.gate()
        for match in set(CHANGING.values()):
            service.proxy.on(match, hung.before(), times=ALWAYS)
        programs = []
        for code in CHANGING:  # the kernel lets one at a time change a directory, or look for an unknown name there
            programs.append(stack.enter_context(program(code, mount / box)))
            hung.reached(len(programs))
        for process in programs:
            process.send_signal(signal.SIGINT)
        assert [process.wait(30) for process in programs] == [-signal.SIGINT] * len(programs)
        service.proxy.mend()
        settled(mount)
        eventually(lambda: sorted(tree(mount / box)) == service.names(box), "both have the same")
        assert "in/renamed" not in service.names(box)


def test_other_signals_end_no_operation(service: Service, home: Home, box: str) -> None:
    filled(service, box, "in/moved", "read", "from/removed", "written")
    harmless = (signal.SIGSTOP, signal.SIGCONT, signal.SIGWINCH, signal.SIGALRM, signal.SIGUSR1)
    handling = "".join(f"signal.signal({number:d}, lambda *_: None); " for number in harmless[2:])
    with mounted(service, home, *PATIENT) as mount, ExitStack() as stack:
        hung = service.proxy.gate()
        for match in set(CHANGING.values()):
            service.proxy.on(match, hung.before(), times=ALWAYS)
        programs = []
        for code in CHANGING:
            programs.append(stack.enter_context(program(handling + code, mount / box)))
            hung.reached(len(programs))
        for number in harmless:
            for process in programs:
                process.send_signal(number)
        for process in programs:  # they may not end, so there is nothing to wait for but a moment
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
        hung.open()
        assert [process.wait(30) for process in programs] == [0] * len(programs)
        settled(mount)
        assert sorted(tree(mount / box)) == service.names(box)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "SIGKILL"])
def test_an_upload_goes_on_when_close_is_interrupted(service: Service, home: Home, box: str, number: int) -> None:
    filled(service, box)
    with mounted(service, home, *PATIENT) as mount:
        hung = service.proxy.gate()
        service.proxy.on(upload_of(), hung.before())
        with program("os.close(descriptor)", mount / box, writes=True) as process:
            hung.reached()
            process.send_signal(number)
            assert process.wait(30) == -number
        assert mount.status()["uploads"]["pending"] == 1
        hung.open()
        service.comes_to_hold(box, {"new": b"new"})


def test_a_program_that_is_killed_with_open_files_does_not_wait(service: Service, home: Home, box: str) -> None:
    filled(service, box)
    with mounted(service, home, *PATIENT) as mount:
        hung = service.proxy.gate()
        service.proxy.on(upload_of(), hung.before())
        with program("print('ready', flush=True); signal.pause()", mount / box, writes=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.kill()
            assert process.wait(30) == -signal.SIGKILL
        hung.reached()
        hung.open()
        service.comes_to_hold(box, {"new": b"new"})


@contextmanager
def program(what: str, top: Path, *, writes: bool = False) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that Ctrl-C ends; with ``writes`` it has written a new file, and has it open."""
    opened = "descriptor = os.open(top + '/new', os.O_CREAT | os.O_WRONLY); os.write(descriptor, b'new'); "
    command = [sys.executable, "-c", PROGRAM + (opened if writes else "") + what, os.fspath(top)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_mount_ends_while_programs_wait(service: Service, home: Home, box: str) -> None:
    names = [f"file {number}" for number in range(20)]
    filled(service, box, *names)
    with mounted(service, home, *PATIENT) as mount:
        assert len(os.listdir(mount / box)) == len(names)
        hung = service.proxy.gate()
        service.proxy.on(content, hung.before(), times=ALWAYS)
        readers = [Task((mount / box / name).read_bytes) for name in names]
        hung.reached(len(names))
        with mount.ended():
            os.kill(mount.pid, signal.SIGTERM)
        assert all(reader.ended() is not None for reader in readers)


# Packets


@pytest.mark.parametrize("line", [relay, wire] if may_be_root() else [relay])
def test_packets_that_are_lost(
    home: Home, tmp_path: Path, request: pytest.FixtureRequest, line: Callable[..., object]
) -> None:
    if line is not wire:
        with running_server(tmp_path / "store") as server, relay(urlsplit(server.address).port or 0) as lossy:
            loses_packets(lossy, home, lossy.url)
    elif os.geteuid():
        run_as_root(request)
    else:
        with wire() as lossy:
            keys = tmp_path / "keys.json"
            secret = home.attempt("containerfs", "keys", "add", "far", "--api-keys", keys).stdout.strip()
            here = ("--host", lossy.near.address, "--api-keys", str(keys))
            with running_server(tmp_path / "store", *here, within=lossy.near.prefix) as server:
                loses_packets(lossy, Home(home.path, lossy.far.prefix), server.address, OPENAI_API_KEY=secret)


def loses_packets(line: Wire | Relay, far: Home, url: str, **environment: str) -> None:
    with far.mounted("--url", url, *SOON, env=environment) as mount:
        box = mount / "box"
        box.mkdir()
        (box / "file").write_bytes(b"content")
        line.cut()
        assert Task(lambda: os.listdir(box)).ended() is None, "what was listed last"
        for operation in (partial((box / "new").write_bytes, b"new"), (mount / "other").mkdir):
            assert Task(operation).ended() == errno.EIO
        assert Task((box / "file").read_bytes).ended() is None
        line.mend()
        eventually(lambda: errno_of((mount / "other").mkdir) is None, "the service is found to be back")
        settled(mount)
