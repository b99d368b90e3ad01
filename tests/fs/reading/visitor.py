"""A process that uses a content cache, and local attributes, again and again, each time that it is told to.

Each line on its standard input is one visit, as JSON: the cache's directory and budget, and which files to ask for. It
answers with a line of JSON: how many bytes of each it found, and after how many of its own it left.
"""

import json
import os
import random
import sys
from pathlib import Path

from containerfs.fs.namespace.attributes import Attributes, AttributeStore
from containerfs.fs.reading import marker
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.types import RemoteFile

SIZE = 20_000


def content(name: str) -> bytes:
    return random.Random(name).randbytes(SIZE)


def file(name: str) -> RemoteFile:
    return RemoteFile(name, "box", name, SIZE, 0)


def read_and_fill(cache: ContentCache, name: str) -> int:
    """Check what the cache has of a file, and add a part, the end as often as the beginning."""
    whole = content(name)
    entry = cache.pin(file(name))
    found = entry.present.total()
    for start, stop in entry.present:
        assert os.pread(entry.fd, stop - start, start) == whole[start:stop], (name, start, stop)
    start, stop = random.choice([(0, SIZE // 2), (SIZE // 2, SIZE)])
    entry.write(start, whole[start:stop])
    with entry.lock:
        entry.add(start, stop)
    cache.unpin(entry)
    return found


def adopt(cache: ContentCache, directory: Path, name: str) -> None:
    staged = directory / f"staged-{name}"
    staged.write_bytes(content(name))
    cache.adopt(file(name), staged)


def visit(directory: Path, budget: int, asked: list[str], own: list[str]) -> dict[str, int]:
    cache = ContentCache(directory, budget, "service")
    store = AttributeStore(directory / "attributes.db", "service")
    found = {name: read_and_fill(cache, name) for name in asked}
    for name in own:
        adopt(cache, directory, name)
        store.save("box", name, Attributes(mode=0o600))
    store.close()
    cache.close()
    return found


def main() -> None:
    marker.sync_disk = lambda path: None  # of no interest here, and slow
    for line in sys.stdin:
        told = json.loads(line)
        told["directory"] = Path(told["directory"])
        print(json.dumps(visit(**told)), flush=True)


if __name__ == "__main__":
    main()
