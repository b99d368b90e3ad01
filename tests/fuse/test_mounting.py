"""What a mount is told, and what it tells."""

from pathlib import Path

from tests.fuse.mounted import Home


def test_directories_may_be_relative(home: Home, tmp_path: Path) -> None:
    options = ("--local", "--data-dir", "store", "--cache-dir", "cache")
    with home.mounted(*options, at=Path("mnt"), cwd=tmp_path):
        (tmp_path / "mnt" / "container").mkdir()
        (tmp_path / "mnt" / "container" / "file").write_text("content")
        assert (tmp_path / "mnt" / "container" / "file").read_text() == "content"
    assert (tmp_path / "store").is_dir()
    assert (tmp_path / "cache").is_dir()
