"""One file id's content on this disk: an open descriptor of a sparse file, and which of its bytes are there.

Invariants: a byte inside the present ranges is the service's byte. While some are missing, a note beside the file says
which are present, and it is true at every moment: a mount that is killed leaves the note before, or half of one, which
counts for nothing. A file without a note is complete, or new and empty.
"""

import json
import os
import threading
from pathlib import Path

from containerfs.fs.disk import disk_errors, write_all
from containerfs.fs.reading.ranges import Ranges
from containerfs.fs.types import RemoteFile

NOTE_SUFFIX = ".ranges"


class CacheEntry:
    """The content of one file id, as long as it is open. Who opens or closes one holds the lock of the cache's names.

    Attributes:
        file: what the service says of it.
        fd: a descriptor to read from; the bytes outside ``present`` mean nothing.
        pins: how many use it. Guarded by the cache.
        lock: guards ``size``, ``present`` and ``complete``.
        size: in bytes; None until it is known.
        present: which bytes are here.
        complete: whether all of them are. It never becomes false again, and may be read without the lock.

    Raises:
        OSError: it cannot be opened, or not be noted as partial. Nothing stays open then.
    """

    def __init__(self, file: RemoteFile, path: Path) -> None:
        self.file = file
        self.path = path
        self.lock = threading.RLock()
        self.size = file.size
        self.pins = 0
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self.present, self._noted = self._load()
            self.complete = self._is_complete()
            self.note()  # a hole must never pass for content, however this ends
        except BaseException:
            os.close(self.fd)
            raise

    @property
    def evicted(self) -> bool:
        """Whether its name is another file's by now, or nobody's: readers go on, and what they have is not kept."""
        return not os.fstat(self.fd).st_nlink

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes that the service sent; they count once they are added. Raises NoSpace."""
        with disk_errors():
            write_all(self.fd, data, offset)

    def add(self, start: int, stop: int) -> None:
        """Count ``[start, stop)`` as present. Needs the lock held."""
        self.present.add(start, stop)
        self._noted = False
        self.complete = self._is_complete()

    def learn_size(self, size: int) -> None:
        """Take over the size that nobody knew. Needs the lock held."""
        self.size = size
        self.complete = self._is_complete()

    def note(self) -> None:
        """Note on disk what is present, unless that is noted or the file is evicted. Raises OSError."""
        if not self.evicted:
            self._write_note()

    def close(self) -> int:
        """Note what is present, close, and return how many bytes are kept. Raises OSError; it is closed even so."""
        evicted = self.evicted
        os.close(self.fd)  # first: the note needs a descriptor, and this may have been the last
        if evicted:
            return 0
        self._write_note()
        return self.present.total()

    def _write_note(self) -> None:
        with self.lock:
            ranges, complete = list(self.present), self.complete
            noted, self._noted = self._noted, True
        if noted:
            return
        note = self.path.with_suffix(NOTE_SUFFIX)
        if complete:
            note.unlink(missing_ok=True)
        else:
            note.write_text(json.dumps(ranges))

    def _is_complete(self) -> bool:
        return self.size is not None and self.present.covers(0, self.size)

    def _load(self) -> tuple[Ranges, bool]:
        """What is present, and whether the disk says exactly that."""
        stored = os.fstat(self.fd).st_size
        try:
            noted = json.loads(self.path.with_suffix(NOTE_SUFFIX).read_text())
            present = Ranges((start, min(stop, stored)) for start, stop in noted)
            return present, list(map(list, present)) == noted  # an orphaned note says more than there is
        except FileNotFoundError:
            whole = stored == self.size
            return Ranges([(0, stored)] if whole else []), whole
        except (ValueError, TypeError):
            return Ranges(), False
