"""The reserve that a crash left half made is made whole, and one that is whole is left alone."""

from pathlib import Path

import pytest

from containerfs.server.storage.reserve import Reserve


@pytest.mark.parametrize("left", [0, 4096])
def test_a_reserve_that_a_crash_cut_short_is_made_whole(tmp_path: Path, left: int) -> None:
    file = tmp_path / "reserve"
    Reserve(tmp_path).require()
    whole = file.stat().st_size
    file.write_bytes(bytes(left))
    Reserve(tmp_path).require()
    made = file.stat()
    assert made.st_size == whole
    assert made.st_blocks * 512 >= whole


def test_a_whole_reserve_is_left_as_it_is(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    reserve.require()
    before = (tmp_path / "reserve").stat()
    reserve.require()
    assert (tmp_path / "reserve").stat() == before
