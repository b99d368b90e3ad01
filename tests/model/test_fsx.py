"""fsx: random reads, writes, truncates, syncs and reopenings of one file, against a bytearray."""

import os
import random
from pathlib import Path

import pytest

from containerfs.fs.options import Options
from tests.fs import programs
from tests.fs.mounts import Opener
from tests.fs.paths import Paths
from tests.model.reference import File

LARGEST = 300_000
OPERATIONS = 400


@pytest.mark.parametrize("seed", range(3))
def test_one_file_is_what_was_made_of_it(opener: Opener, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    fs = opener(Options(tmp_path, metadata_expiry=60.0))
    box = f"/fsx-{os.getpid()}-{seed}"
    fs.mkdir(box, 0o755)
    programs.write(fs, f"{box}/file", b"")
    fh, expected = fs.open(f"{box}/file", os.O_RDWR)[0], File()
    for _ in range(OPERATIONS):
        fh = step(fs, f"{box}/file", fh, expected, chance)
    fs.flush(fh)
    fs.release(fh)
    assert programs.read(fs, f"{box}/file") == expected.content
    fs.close()
    again = opener(Options(tmp_path / "another", metadata_expiry=0.0))
    assert programs.read(again, f"{box}/file") == expected.content
    again.close()


def step(fs: Paths, path: str, fh: int, expected: File, chance: random.Random) -> int:
    """One operation on the file and on what is expected of it; returns the handle to go on with."""
    offset, size = chance.randrange(LARGEST), chance.randrange(1, 70_000)
    match chance.choices(["read", "write", "append", "truncate", "sync", "close"], [40, 30, 5, 10, 5, 10])[0]:
        case "read":
            assert programs.at(fs, fh, offset, size) == expected.content[offset : offset + size]
        case "write":
            content = chance.randbytes(min(size, LARGEST - offset))
            programs.put(fs, fh, content, offset)
            expected.write(offset, content)
        case "append":
            programs.append(fs, path, b"appended")
            expected.write(len(expected.content), b"appended")
        case "truncate":
            fs.ftruncate(fh, offset)
            expected.truncate(offset)
        case "sync":
            fs.fsync(fh)
        case _:
            fs.flush(fh)
            fs.release(fh)
            truncates = chance.random() < 0.2
            fh = fs.open(path, os.O_RDWR | truncates * os.O_TRUNC)[0]
            expected.truncate(0 if truncates else len(expected.content))
    assert fs.getattr(path).size == len(expected.content)
    return fh
