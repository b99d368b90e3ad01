"""The files of the cache on disk: a content for each key, and a note beside it while it is not complete.

They are spread over 256 directories, by the first two digits of their keys. Nothing here takes a lock.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from containerfs.fs.reading import sums
from containerfs.fs.reading.entry import NOTE_SUFFIX, CacheEntry
from containerfs.fs.types import RemoteFile

log = logging.getLogger(__name__)

_SHARDS = "[0-9a-f][0-9a-f]"


class Shards:
    """All files below a directory, which exists."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, key: str) -> Path:
        """Return where the content of a key is, or would be."""
        return self._directory / key[:2] / key

    def is_complete(self, key: str) -> bool:
        """Tell whether there is a content, and no note that says which parts of it are missing."""
        path = self.path(key)
        return path.exists() and not path.with_suffix(NOTE_SUFFIX).exists()

    def open(self, file: RemoteFile, key: str) -> CacheEntry:
        """Open the content of a key. A new one is empty. Raises OSError."""
        path = self.path(key)
        try:
            return CacheEntry(file, path)
        except FileNotFoundError:  # the first file of its shard
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return CacheEntry(file, path)

    def put(self, key: str, staged: Path) -> None:
        """Move a complete file here as the content of a key. Raises OSError."""
        path = self.path(key)
        try:
            os.replace(staged, path)
        except FileNotFoundError:  # the first file of its shard
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.replace(staged, path)
        note = path.with_suffix(NOTE_SUFFIX)
        if os.path.exists(note):  # true of few files, and cheaper to check than to handle an exception
            note.unlink(missing_ok=True)

    def delete(self, key: str) -> None:
        """Delete a content, and then its note, because without a note it counts as complete."""
        path = os.fspath(self.path(key))
        _unlink(path)
        _unlink(path + NOTE_SUFFIX)

    def clear(self) -> None:
        """Delete everything."""
        for shard in self._directory.glob(_SHARDS):
            shutil.rmtree(shard, ignore_errors=True)

    def all(self) -> Iterator[tuple[float, str, int]]:
        """Yield when each content was used last, its key, and how many bytes it takes."""
        for shard in self._directory.glob(_SHARDS):
            with suppress(FileNotFoundError), os.scandir(shard) as files:
                for file in files:
                    if "." not in file.name:
                        with suppress(FileNotFoundError):  # another mount has evicted it
                            stat = file.stat()
                            yield stat.st_mtime, file.name, min(stat.st_size, stat.st_blocks * 512)


def add_checksums(staged: Path) -> int:
    """Append the checksums to a content, and return its size in bytes. Raises OSError."""
    fd = os.open(staged, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        sums.append(fd, size, sums.of_file(fd, size))
    finally:
        os.close(fd)
    return size


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s cannot be deleted from the cache: %s", path, error)
