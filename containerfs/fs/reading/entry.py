"""The content of one file id on this disk: an open descriptor of a sparse file, and which of its bytes are present.

Invariants: bytes inside the present ranges came from the service, and are compared with a checksum when they are read.
A complete content ends in a trailer with its checksums. A partial one has a note beside it, with the present ranges and
their checksums. A file that has neither counts as empty. So the mount may be killed, and the machine may lose power, at
any moment.
"""

import json
import logging
import os
import threading
from array import array
from collections.abc import Iterable
from pathlib import Path

from containerfs.fs.disk import disk_errors, write_all
from containerfs.fs.reading import sums
from containerfs.fs.reading.ranges import Ranges
from containerfs.fs.reading.sums import BLOCK, checksum
from containerfs.fs.types import RemoteFile

log = logging.getLogger(__name__)

NOTE_SUFFIX = ".ranges"
NOWHERE = Path("/dev/full")
"""A file that is always full: every write fails with ENOSPC. Source: full(4)."""


class CacheEntry:
    """The content of one file id while it is open. The lock of the cache's names must be held to open or close it.

    Attributes:
        file: the file as the service describes it.
        fd: a descriptor to read from. The bytes outside ``present`` mean nothing.
        pins: the number of users; guarded by the cache.
        lock: guards ``size``, ``present``, ``complete`` and the checksums.
        size: in bytes; None until it is known.
        present: the bytes that are here.
        complete: whether all bytes are here. May be read without the lock. Becomes false again if some are damaged.

    Raises:
        OSError: if it cannot be opened. Nothing stays open then.
    """

    def __init__(self, file: RemoteFile, path: Path) -> None:
        self.file = file
        self.path = path
        self.lock = threading.RLock()
        self.size = file.size
        self.pins = 0
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._sums = array("Q")  # grows with what arrives: a size is only what the service says
            self.present = Ranges()
            self._noted = self._load()
            self.complete = self._was_complete = self._is_complete()
        except BaseException:
            os.close(self.fd)
            raise

    @property
    def evicted(self) -> bool:
        """Whether its name is gone or belongs to another file. Readers go on, and what they have is not kept."""
        return self.path == NOWHERE or not os.fstat(self.fd).st_nlink

    @property
    def was_completed(self) -> bool:
        """Whether the content was completed since it was opened."""
        return self.complete and not self._was_complete

    def has(self, start: int, stop: int) -> bool:
        """Tell whether the bytes ``[start, stop)`` are present, up to the end of the file."""
        with self.lock:
            return self.present.covers(start, stop if self.size is None else min(stop, self.size))

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes of the service. They count once ``add`` is called. Raises NoSpace."""
        with disk_errors():
            write_all(self.fd, data, offset)
        self._make_room(offset + len(data))
        view = memoryview(data)
        for start, stop in sums.pieces(offset, offset + len(data)):
            if stop - start == BLOCK:
                self._sums[start // BLOCK] = checksum(view[start - offset : stop - offset])

    def add(self, start: int, stop: int) -> None:
        """Count ``[start, stop)`` as present. The lock must be held."""
        self.present.add(start, stop)
        for block in {start // BLOCK, (stop - 1) // BLOCK}:  # those in between were written whole
            self._sum_up(block)
        self._noted = False
        self.complete = self._is_complete()

    def learn_size(self, size: int) -> None:
        """Set the size, which was unknown. The lock must be held."""
        self.size = size
        self._make_room(size)
        self._sum_up((size - 1) // BLOCK)
        self._noted = False
        self.complete = self._is_complete()

    def read(self, offset: int, size: int) -> bytes | None:
        """Read up to ``size`` bytes at ``offset``, which are present.

        Returns:
            The bytes, fewer than ``size`` only at the end of the file; None if they are damaged, and so no longer
            present.
        """
        stop = self._readable(offset, offset + size)
        if stop is None or stop <= offset:
            return None if stop is None else b""
        try:
            data = os.pread(self.fd, stop - offset, offset)
        except OSError as error:
            log.warning("%s: %s", self.path, error)
            data = b""
        return data if self._is_sound(offset, stop, memoryview(data)) else None

    def is_sound(self, start: int, stop: int) -> bool:
        """Compare the present bytes ``[start, stop)`` with their checksums. Damaged ones are no longer present."""
        found = [self._is_sound(at, end, None) for at, end in sums.pieces(start, stop)]
        return all(found)

    def note(self) -> None:
        """Save which bytes are present, unless that is saved already or the file is evicted. Raises OSError."""
        if not self.evicted:
            self._put(self._prepare_note())

    def close(self) -> int:
        """Save which bytes are present, close the file, and return how many bytes are kept. Raises OSError, but closes
        all the same."""
        try:
            evicted = self.evicted
            note = None if evicted else self._prepare_note()
        finally:
            os.close(self.fd)  # before writing the note, which needs a descriptor, and this may be the last one
        if evicted:
            return 0
        self._put(note)
        return self.present.total()

    def _readable(self, start: int, stop: int) -> int | None:
        """Return where a read of ``[start, stop)`` ends; None if some of it was just dropped."""
        if self.complete and self.size is not None:
            return min(stop, self.size)
        with self.lock:
            size, here = self.size, self.present.end_of(start)
            if size is None:
                return min(stop, here) if here > start else None
            stop = min(stop, size)
            return stop if here >= stop else None

    # Checksums

    def _make_room(self, size: int) -> None:
        with self.lock:
            missing = len(sums.blocks(0, size)) - len(self._sums)
            self._sums.frombytes(bytes(8 * max(missing, 0)))

    def _bounds(self, block: int) -> tuple[int, int]:
        stop = (block + 1) * BLOCK
        return block * BLOCK, stop if self.size is None else min(stop, self.size)

    def _is_whole(self, block: int) -> bool:
        start, stop = self._bounds(block)
        return start < stop and self.present.covers(start, stop)

    def _sum_up(self, block: int) -> None:
        """Compute the checksum of a block that arrived in parts, once it is complete. The lock must be held."""
        if block >= 0 and self._is_whole(block):
            start, stop = self._bounds(block)
            self._sums[block] = checksum(os.pread(self.fd, stop - start, start))

    def _is_sound(self, start: int, stop: int, data: memoryview | None) -> bool:
        """Compare the blocks that ``[start, stop)`` touches with their checksums. ``data`` is what was read."""
        whole: Iterable[int] = sums.blocks(start, stop)
        if not self.complete:
            with self.lock:
                whole = [block for block in whole if self._is_whole(block)]
        short = data is not None and len(data) < stop - start
        damaged = [block for block in whole if short or not self._matches(block, start, stop, data)]
        if damaged or short:
            self._drop(damaged, start, stop)
        return not (damaged or short)

    def _matches(self, block: int, start: int, stop: int, data: memoryview | None) -> bool:
        first, last = self._bounds(block)
        if data is not None and start <= first and last <= stop:
            found = checksum(data[first - start : last - start])
        else:
            try:
                found = checksum(os.pread(self.fd, last - first, first))
            except OSError:
                return False
        return found == self._sums[block]

    def _drop(self, damaged: list[int], start: int, stop: int) -> None:
        """Count blocks as no longer present; if no block is complete, the range."""
        log.warning("%s was damaged on this machine's disk; its damaged parts are fetched again", self.path)
        with self.lock:
            for first, last in map(self._bounds, damaged):
                self.present.remove(first, last)
            if not damaged:
                self.present.remove(start, stop)
            self._noted = False
            self.complete = self._is_complete()

    # Loading and saving

    def _prepare_note(self) -> str | None:
        """Return the note to write; "" if the content is complete, and so has a trailer, or if everything is saved."""
        with self.lock:
            noted, self._noted = self._noted, True
            if noted:
                return ""
            if not self.complete:
                return json.dumps([[start, stop, self._noted_sums(start, stop)] for start, stop in self.present])
            assert self.size is not None
            sums.append(self.fd, self.size, self._sums[: len(sums.blocks(0, self.size))])
            return None

    def _noted_sums(self, start: int, stop: int) -> str:
        found = array("Q")
        for first, last in sums.pieces(start, stop):
            block = first // BLOCK
            whole = (first, last) == self._bounds(block)
            found.append(self._sums[block] if whole else checksum(os.pread(self.fd, last - first, first)))
        return found.tobytes().hex()

    def _put(self, note: str | None) -> None:
        path = self.path.with_suffix(NOTE_SUFFIX)
        if note is None:
            path.unlink(missing_ok=True)
        elif note:
            path.write_text(note)
            if not self.path.exists():  # another mount has just deleted it, and may not have seen the note
                path.unlink(missing_ok=True)

    def _is_complete(self) -> bool:
        return self.size is not None and self.present.covers(0, self.size)

    def _load(self) -> bool:
        """Find out which bytes are present, and return whether the disk says exactly that."""
        note = self.path.with_suffix(NOTE_SUFFIX)
        if not os.path.exists(note):  # true of most files, and cheaper to check than to handle an exception
            return self._load_complete()
        try:
            noted = json.loads(note.read_text())
            for start, stop, found in noted:
                self._load_range(start, stop, array("Q", bytes.fromhex(found)))
        except (ValueError, TypeError):
            return False
        return list(self.present) == [(start, stop) for start, stop, _ in noted]

    def _load_complete(self) -> bool:
        found = sums.read(self.fd)
        if found is None or self.size not in (None, found[0]):
            return True  # there is nothing, and no note
        self.size, self._sums = found
        self.present.add(0, self.size)
        return True

    def _load_range(self, start: int, stop: int, found: "array[int]") -> None:
        """Load a range from the note. Parts of blocks at its ends are verified now, and whole blocks when they are
        read."""
        if not 0 <= start < stop <= os.fstat(self.fd).st_size:
            raise ValueError("the note lists more bytes than the file has")
        self._make_room(stop)
        for (first, last), noted in zip(sums.pieces(start, stop), found, strict=True):
            if (first, last) == self._bounds(first // BLOCK):
                self._sums[first // BLOCK] = noted
            elif checksum(os.pread(self.fd, last - first, first)) != noted:
                continue
            self.present.add(first, last)
