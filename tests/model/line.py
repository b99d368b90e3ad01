"""A mount's line to a service in memory, on which faults happen as a test draws them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from containerfs.client.types import UploadSource
from containerfs.fs import types
from containerfs.fs.remote import Arriving, ForwardingRemote, Stream, UploadRequest, ignored
from containerfs.fs.types import RemoteContainer, RemoteFile
from tests.fs.memory import MemoryRemote, chunks_to_the_end

T = TypeVar("T")

STORING = ("down", "cut", "lost", "late", "too large", "full", "killed before", "killed after")
"""What can happen to an upload or a copy: nothing is sent; it is sent and not stored (also a 503); it is stored, and
the answer is lost (or garbage); it is stored long after the client gave up; 413; 507; the mount is killed."""

BREAKING = ("down", "too large", "full")
"""What happens to an upload that begins while its file is written, as long as it is. A kill waits until it was, for the
program is to wait for it, too."""

HOLDING = ("held", "held when sent")
"""It takes its time, until a test lets it go on."""

ASKING = ("down", "killed before", "killed after")
"""What can happen to a listing, or a download."""

DELETING = (*ASKING, "lost", "refused")


@dataclass
class Fault:
    """Something that happens to the next requests of one kind.

    Attributes:
        operation: ``store``, ``delete``, ``list`` or ``content``.
        times: to how many of them.
    """

    operation: str
    kind: str
    times: int = 1


class Faults:
    """What is to happen on all lines to one service. Thread-safe.

    Attributes:
        calm: nothing happens for now.
        killed: set once a fault has killed a mount.
        late: requests that the service has still to carry out, with the path that they are about.
    """

    def __init__(self) -> None:
        self.calm = False
        self.killed = threading.Event()
        self.late: list[tuple[str, Callable[[], object]]] = []
        self._armed: list[Fault] = []
        self._held: list[threading.Event] = []
        self._lock = threading.Lock()

    def arm(self, fault: Fault) -> None:
        with self._lock:
            self._armed.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def take(self, operation: str) -> str | None:
        """What happens to a request."""
        with self._lock:
            fault = next((fault for fault in self._armed if fault.operation == operation), None)
            if fault is None or self.calm:
                return None
            fault.times -= 1
            if not fault.times:
                self._armed.remove(fault)
            return fault.kind

    def hold(self) -> None:
        """Hold a request until it may go on."""
        event = threading.Event()
        with self._lock:
            self._held.append(event)
        assert event.wait(100)

    @property
    def held(self) -> int:
        with self._lock:
            return len(self._held)

    def release(self) -> None:
        """Let all that is held go on."""
        with self._lock:
            for event in self._held:
                event.set()
            self._held.clear()

    def postpone(self, path: str, run: Callable[[], object]) -> None:
        """Have the service carry out a request later."""
        with self._lock:
            self.late.append((path, run))

    def arrive(self, path: str | None = None) -> None:
        """Have the service carry out what is late, about one path or all."""
        with self._lock:
            now = [run for about, run in self.late if path in (None, about)]
            self.late = [(about, run) for about, run in self.late if path not in (None, about)]
        for run in now:
            with suppress(types.FsError):  # what it is about may be gone
                run()


class Line(ForwardingRemote):
    """One mount's connection. Once it is cut, nothing passes any more.

    Attributes:
        kill: ends the mount as ``kill -9`` does.
        arrives: whether requests that are held are carried out when the line is cut.
    """

    _remote: MemoryRemote

    def __init__(self, remote: MemoryRemote, faults: Faults) -> None:
        super().__init__(remote)
        self._faults = faults
        self.kill: Callable[[], None] = self.cut
        self.arrives = False
        self._cut = threading.Event()
        self._over = threading.Event()

    def cut(self) -> None:
        self._cut.set()

    def end(self) -> None:
        """Let the threads of a mount that was killed end."""
        self._over.set()

    def containers(self) -> list[RemoteContainer]:
        return self._pass("list", self._remote.containers)

    def container(self, container_id: str) -> RemoteContainer:
        return self._pass("list", lambda: self._remote.container(container_id))

    def files(self, container_id: str, arriving: Arriving = ignored) -> list[RemoteFile]:
        return self._pass("list", lambda: self._remote.files(container_id, arriving))

    def newest(self, container_id: str, since: int) -> list[RemoteFile]:
        return self._pass("list", lambda: self._remote.newest(container_id, since))

    def upload(self, request: UploadRequest) -> RemoteFile:
        fault = self._faults.take("store")
        if fault == "held":
            self._faults.hold()
            fault = None
        if request.source.size is None and fault in BREAKING:
            request.source.read_at(0, 1)
            return self._meet(fault, "store", lambda: self._remote.upload(request), request.path)
        sent = UploadRequest(request.container_id, request.path, _Sent(request.source), request.key)
        return self._meet(fault, "store", lambda: self._remote.upload(sent), request.path)

    def copy(self, file: RemoteFile, path: str, key: str) -> RemoteFile:
        return self._pass("store", lambda: self._remote.copy(file, path, key), path)

    def delete_file(self, container_id: str, file_id: str) -> None:
        self._pass("delete", lambda: self._remote.delete_file(container_id, file_id))

    def size(self, file: RemoteFile) -> int | None:
        return self._pass("list", lambda: self._remote.size(file))

    def content(self, file: RemoteFile, start: int = 0, stop: int | None = None) -> AbstractContextManager[Stream]:
        return self._pass("content", lambda: self._remote.content(file, start, stop))

    def _pass(self, operation: str, run: Callable[[], T], path: str = "") -> T:
        return self._meet(self._faults.take(operation), operation, run, path)

    def _meet(self, fault: str | None, operation: str, run: Callable[[], T], path: str) -> T:
        """Carry out a request as far as its fault lets it."""
        if fault in HOLDING:
            self._faults.hold()
            if self._cut.is_set() and self.arrives:
                run()
        if self._cut.is_set() or fault == "down":
            raise types.Unreachable("down")
        if fault == "too large":
            raise types.TooLarge("413")
        if fault == "refused":
            raise types.AccessDenied("403")
        if fault == "full":
            raise types.NoSpace("507")
        lost = types.AnswerLost if operation == "store" else types.Unreachable
        if fault == "cut":
            raise lost("cut before it was stored")
        if fault == "late":
            self._faults.postpone(path, run)
            raise lost("it takes too long")
        if fault == "killed before":
            self._die()
        if operation == "store" and self._remote.replaces != "nothing":
            self._faults.arrive(path)  # such a service carries out what is about one path in the order of the requests
        result = run()
        if fault == "killed after":
            self._die()
        if fault == "lost":
            raise lost("the answer is lost")
        return result

    def _die(self) -> None:
        """The mount is killed at this moment: its thread never goes on."""
        self.kill()
        self.cut()
        self._faults.killed.set()
        self._over.wait(100)
        raise types.Unreachable("killed")


class _Sent:
    """What was read of a source."""

    def __init__(self, source: UploadSource) -> None:
        self._content = b"".join(chunks_to_the_end(source, 4096))
        self.size = len(self._content)

    def read_at(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]


@contextmanager
def calm(faults: Faults) -> Iterator[None]:
    """Nothing goes wrong for a while."""
    faults.calm = True
    try:
        yield
    finally:
        faults.calm = False
