"""The operations, over a real server."""

import stat

from tests.fs import programs
from tests.fs.paths import Paths


def test_what_is_written_is_read_back_here_and_by_another_mount(fs: Paths, box: str) -> None:
    programs.write(fs, f"{box}/a", b"content")
    assert programs.read(fs, f"{box}/a") == b"content"
    assert fs.getattr(f"{box}/a").size == 7
    assert stat.S_ISREG(fs.getattr(f"{box}/a").mode)
    assert programs.names(fs, box) == ["a"]
