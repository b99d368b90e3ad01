"""The session with the kernel: libfuse's, and the threads that serve it.

Each thread receives a request, answers it, and receives the next. Whenever no thread is left to receive a request,
another is started. They are Python threads, because Python would have to set up a state for a foreign thread at each
request.
"""

import ctypes
import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from containerfs.fs import types
from containerfs.fs.process import is_asked_to_end
from containerfs.fuse import libfuse, readahead, table
from containerfs.fuse.answers import Answer
from containerfs.fuse.mount import MountError, detach
from containerfs.fuse.operations import ContainerOperations, changes

log = logging.getLogger(__name__)

# Operations at a time. Each that waits for the service has a thread; the kernel sends no more reads ahead at a time
# than _BACKGROUND (12, unless it is told), so that some are left for others.
_THREADS, _BACKGROUND = 1000, 500
_IDLE = 10  # idle threads that are kept
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_WAKING = signal.SIGUSR1  # interrupts waiting for a request
_PATIENCE = 5.0  # seconds for running operations to end; they are interrupted
_FORGOTTEN = (0, -errno.ENOENT)  # the latter if it remembers nothing
_AGAIN = (-errno.EINTR, -errno.EAGAIN)
_libc = ctypes.CDLL(None)
_libc.free.argtypes = [ctypes.c_void_p]
_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype, _view.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
_READ_ONLY = 0x100  # PyBUF_READ


class Request:
    """A request of the kernel, and the program that it comes from."""

    __slots__ = ("_pointer", "_session")

    def __init__(self, session: "Session", pointer: int) -> None:
        self._session = session
        self._pointer = pointer

    @property
    def owner(self) -> tuple[int, int]:
        context = self._context()
        return context.uid, context.gid

    @property
    def pid(self) -> int:
        return int(self._context().pid)

    def interrupted(self) -> bool:
        """Tell whether a signal is to end its program, or the mount is ending."""
        if self._session.ending:
            return True
        return bool(self._session.library.fuse_req_interrupted(self._pointer)) and is_asked_to_end(self.pid)

    def _context(self) -> Any:
        return self._session.library.fuse_req_ctx(self._pointer).contents


class Session:
    """A mount as the kernel and libfuse see it.

    Args:
        operations: answer the kernel's requests.
        on_ready: called once the kernel has the mount.
        arguments: of libfuse, without the name of the program.

    Raises:
        FuseMissing: if libfuse is not installed.
        OSError: if libfuse refuses the arguments; it explains that on standard error.
    """

    def __init__(self, operations: ContainerOperations, on_ready: Callable[[], None], arguments: list[str]) -> None:
        self.library = libfuse.load()
        self.ending = False
        self._operations = operations
        self._on_ready = on_ready
        self._callbacks = libfuse.Operations(**{name: self._callback(name) for name in _CONVERSIONS})
        self._callbacks.init = libfuse.CALLBACKS["init"](self._init)
        self._callbacks.forget = libfuse.CALLBACKS["forget"](self._forget)
        self._callbacks.forget_multi = libfuse.CALLBACKS["forget_multi"](self._forget_multi)
        pointer = libfuse.new_session(self.library, ["containerfs", *arguments], self._callbacks)
        if pointer is None:
            raise OSError(errno.EINVAL, "libfuse rejects the options")
        self._pointer = pointer
        self._mounted: table.Entry | None = None
        # A pipe, because no other wait is certain to notice a signal that arrives just as it begins.
        self._ended, self._end_of = os.pipe()
        os.set_blocking(self._end_of, False)
        self._lock = threading.Lock()  # guards what follows
        self._threads: set[threading.Thread] = set()
        self._waiting: set[threading.Thread] = set()  # waiting for a request

    def serve(self, mountpoint: str) -> None:
        """Mount, and serve until the mount is unmounted or a signal ends the process. Call it on the main thread.

        Raises:
            OSError: if it cannot be mounted; libfuse explains that on standard error.
        NoThread: if no thread can be started.
        """
        if self.library.fuse_session_mount(self._pointer, os.fsencode(mountpoint)):
            self.library.fuse_session_destroy(self._pointer)
            raise OSError(errno.EIO, "libfuse cannot mount")
        self._mounted = table.entry(Path(mountpoint))
        with self._signals():
            try:
                self._start_thread()
            except RuntimeError as error:
                self._close()
                raise types.NoThread(error) from error
            os.read(self._ended, 1)
            if self._end():
                self._close()
            else:
                log.warning("The mount has ended, but some operations have not")
                _detach(self._mounted)

    def _close(self) -> None:
        self.library.fuse_session_unmount(self._pointer)
        self.library.fuse_session_destroy(self._pointer)

    def forget_pages(self, node: int) -> bool:
        """Make the kernel forget the attributes and pages of a file, and return whether it did.

        Source: fuse_lowlevel_notify_inval_inode, libfuse.
        """
        return self.library.fuse_lowlevel_notify_inval_inode(self._pointer, node, 0, 0) in _FORGOTTEN

    # Threads

    def _start_thread(self) -> None:
        """Start another thread for requests, unless there are as many as allowed. Raises RuntimeError."""
        thread = threading.Thread(target=self._serve_requests, name="fuse", daemon=True)
        with self._lock:
            if self.ending or len(self._threads) >= _THREADS:
                return
            self._threads.add(thread)
            self._waiting.add(thread)
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._threads.discard(thread)
                self._waiting.discard(thread)
            raise

    def _serve_requests(self) -> None:
        thread, buffer = threading.current_thread(), libfuse.Buffer()
        try:
            while self._receive(buffer):
                with self._lock:
                    self._waiting.discard(thread)
                    is_last = not self._waiting
                if is_last:
                    with suppress(RuntimeError):  # no more threads can be started; this one will receive the next
                        self._start_thread()
                self.library.fuse_session_process_buf(self._pointer, ctypes.byref(buffer))
                with self._lock:
                    if len(self._waiting) >= _IDLE:
                        return
                    self._waiting.add(thread)
            os.write(self._end_of, b"\0")
        finally:
            _libc.free(buffer.mem)
            with self._lock:
                self._threads.discard(thread)
                self._waiting.discard(thread)

    def _receive(self, buffer: libfuse.Buffer) -> bool:
        """Wait for a request. Returns False once the mount ends."""
        while not self.ending:
            received = self.library.fuse_session_receive_buf(self._pointer, ctypes.byref(buffer))
            if received not in _AGAIN:
                return bool(received > 0)
        return False

    def _end(self) -> bool:
        """Let running operations end, and return whether all have.

        libfuse closes the descriptor of the kernel's device when it unmounts. That must not happen while a thread may
        use it, because its number may then belong to another file. If a thread does not end, closing it is left to the
        end of the process.
        """
        self.ending = True
        self.library.fuse_session_exit(self._pointer)
        deadline = time.monotonic() + _PATIENCE
        while threads := self._wake():
            threads.pop().join(0.01)
            if time.monotonic() > deadline:
                return False
        return True

    def _wake(self) -> set[threading.Thread]:
        """Wake the threads that wait for a request, and return those that are left."""
        with self._lock:
            for thread in self._waiting:
                if thread.ident is not None:
                    signal.pthread_kill(thread.ident, _WAKING)
            return set(self._threads)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def heard(number: int, frame: FrameType | None) -> None:
            """Its number is in the pipe."""

        handlers = {number: signal.signal(number, heard) for number in (*_ENDING, _WAKING)}
        before = signal.set_wakeup_fd(self._end_of, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    # Requests

    def _init(self, _: int, connection: Any) -> None:
        connection.contents.max_background = _BACKGROUND
        connection.contents.want |= connection.contents.capable & libfuse.CACHE_SYMLINKS
        connection.contents.max_readahead = readahead.READ_AHEAD  # the kernel takes the smaller of this and its own
        if self._mounted is not None:
            readahead.widen(self._mounted.device)
        self._on_ready()

    def _forget(self, request: int, node: int, times: int) -> None:
        self._try_to_forget(request, node, times)
        self.library.fuse_reply_none(request)

    def _forget_multi(self, request: int, count: int, forgets: Any) -> None:
        for forget in forgets[:count]:
            self._try_to_forget(request, forget.ino, forget.nlookup)
        self.library.fuse_reply_none(request)

    def _try_to_forget(self, request: int, node: int, times: int) -> None:
        try:
            self._operations.forget(Request(self, request), node, times)
        except OSError:  # it is in the log
            return

    def _callback(self, name: str) -> Any:
        """Return the function that libfuse calls for an operation. It always answers."""
        convert, operation = _CONVERSIONS[name], getattr(self._operations, name)

        def answer(request: int, *arguments: Any) -> None:
            try:
                answered = operation(Request(self, request), *convert(*arguments))
            except OSError as error:
                self.library.fuse_reply_err(request, error.errno or errno.EIO)
            except BaseException:
                log.exception("%s failed", name)
                self.library.fuse_reply_err(request, errno.EIO)
            else:
                self._reply(request, answered)

        return libfuse.CALLBACKS[name](answer)

    def _reply(self, request: int, answer: Answer | None) -> None:
        if answer is None:
            self.library.fuse_reply_err(request, 0)
            return
        if self.library.fuse_reply_buf(request, answer.payload, len(answer.payload)):
            try:
                answer.undelivered()
            except Exception:
                log.exception("The result of an interrupted operation could not be released")


def _detach(mounted: table.Entry | None) -> None:
    """Detach a mount that still has its name, because whoever accessed it would wait for nobody."""
    if mounted is not None and table.entry(mounted.path) == mounted:
        try:
            detach(mounted.path)
        except MountError as error:
            log.warning("%s cannot be detached: %s", mounted.path, error)


def _plain(*arguments: Any) -> tuple[Any, ...]:
    return arguments


def _written(node: int, data: int, size: int, offset: int, info: Any) -> tuple[int, memoryview, int]:
    """Return the kernel's buffer, without copying it."""
    return info.contents.fh, _view(data, size, _READ_ONLY), offset


def _changed(node: int, attributes: Any, to_set: int, info: Any) -> tuple[Any, ...]:
    return node, changes(to_set, attributes.contents), info.contents.fh if info else None


_CONVERSIONS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "lookup": _plain,
    "getattr": lambda node, info: (node,),
    "setattr": _changed,
    "mknod": _plain,
    "readlink": _plain,
    "mkdir": _plain,
    "unlink": _plain,
    "rmdir": _plain,
    "symlink": _plain,
    "rename": _plain,
    "link": _plain,
    "open": lambda node, info: (node, info.contents.flags),
    "read": lambda node, size, offset, info: (info.contents.fh, size, offset),
    "write": _written,
    "flush": lambda node, info: (info.contents.fh,),
    "release": lambda node, info: (info.contents.fh,),
    "fsync": lambda node, datasync, info: (info.contents.fh,),
    "opendir": lambda node, info: (node,),
    "readdir": lambda node, size, offset, info: (node, info.contents.fh, size, offset),
    "readdirplus": lambda node, size, offset, info: (node, info.contents.fh, size, offset),
    "releasedir": lambda node, info: (info.contents.fh,),
    "fsyncdir": lambda node, datasync, info: (info.contents.fh,),
    "statfs": lambda node: (),
    "setxattr": lambda node, name, value, size, flags: (node, name, ctypes.string_at(value, size)),
    "getxattr": _plain,
    "listxattr": _plain,
    "removexattr": _plain,
    "create": lambda parent, name, mode, info: (parent, name, mode, info.contents.flags),
    "fallocate": lambda node, mode, offset, size, info: (info.contents.fh, mode, offset, size),
}
"""Convert the arguments of libfuse's operations to ours."""
