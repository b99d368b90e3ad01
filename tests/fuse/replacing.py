"""Two programs that replace a file all the time, and others that open and read it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.fuse.mounted import Mount

_WRITERS = ("one", "two")
_READERS = 3
_REPLACES = """
import os, sys
directory, mine = sys.argv[1:]
while True:
    with open(f"{directory}/{mine}.new", "w") as new:
        new.write(mine * 100)
    os.rename(f"{directory}/{mine}.new", f"{directory}/file")
"""
_OPENS = """
import collections, errno, json, os, sys
path, seen = sys.argv[1], collections.Counter()
for _ in range(int(sys.argv[2])):
    try:
        fd = os.open(path, os.O_RDONLY)
        content = os.read(fd, 1000).decode()
        seen[content[:3] if content == content[:3] * 100 else content] += 1
        os.close(fd)
    except OSError as error:
        seen[errno.errorcode[error.errno]] += 1
print(json.dumps(seen))
"""


def opens_against_replacements(mount: Mount, directory: Path, count: int) -> Counter[str]:
    """Open ``file`` in a directory so many times while it is replaced.

    Returns:
        How often which writer's content was read whole, by the writer; and how often anything else, by the error or the
        content.
    """
    (directory / "file").write_text(_WRITERS[0] * 100)
    seen: Counter[str] = Counter()
    writers = [_program(mount, _REPLACES, directory, name) for name in _WRITERS]
    try:
        readers = [_program(mount, _OPENS, directory / "file", str(count // _READERS)) for _ in range(_READERS)]
        for reader in readers:
            seen.update(json.loads(reader.communicate()[0]))
        assert [writer.poll() for writer in writers] == [None, None], "they still replace"
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    return seen


def _program(mount: Mount, program: str, *arguments: str | Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, env=mount.home.environment, stdout=subprocess.PIPE, text=True)
