"""Names and ids as no service should send them: they never lead out of the mount or the cache, and hide nothing."""

import os
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.client.service import Reply, Request, Service, page
from tests.fuse.mounted import Home, Mount

NAMES = [
    "../../../escaped",
    "../escaped",
    "..",
    ".",
    "",
    "/",
    "//",
    "/etc/passwd",
    "a/../../escaped",
    "a//b",
    "a/",
    "nul\0byte",
    "x" * 300,
    "é" * 200,
    "new\nline",
    "\u29f8 looks like a slash",
    "\x1b[31mred\x7f",
    "half a pair \ud800",
    "ordinary",
]
IDS = [
    "...",
    "a..%2fb",
    "/absolute",
    "with space",
    "with\0nul",
    "é?#&",
    "i" * 300,
    "cfile_1",
    "-rf",
]


class Hostile:
    """A service with these containers, each with these files, by name; a file's content is its id."""

    def __init__(self, containers: dict[str, str], files: dict[str, str]) -> None:
        self.containers = containers
        self.files = files

    def __call__(self, request: Request) -> Reply:
        parts = [unquote(part) for part in request.target.partition("?")[0].split("/")[2:]]
        if len(parts) == 1:
            return page([{"id": id, "name": name, "created_at": 1} for id, name in self.containers.items()])
        if parts[1] not in self.containers:
            return Reply({"error": {"message": "no such container"}}, status=404)
        if len(parts) == 3:
            return page(
                [
                    {"id": id, "path": path, "bytes": len(id.encode()) or 1, "created_at": 1}
                    for id, path in self.files.items()
                ]
            )
        if len(parts) == 5 and parts[3] in self.files:
            return Reply(parts[3].encode())
        return Reply({"error": {"message": "no such file"}}, status=404)


def everything(top: Path, *, but: tuple[Path, ...]) -> set[Path]:
    """All that is below a directory, and not below some others."""
    found = set()
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if Path(directory, name) not in but]
        found |= {Path(directory, name) for name in (*names, *files)}
    return found


def read_all(mount: Mount) -> list[bytes]:
    """The contents of all files that the mount shows, by walking it as programs do."""
    listed = mount.home.run("find", mount.path, "-type", "f", "-print0").split("\0")
    return sorted(Path(path).read_bytes() for path in listed if path)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    (tmp_path / "copied").mkdir()
    return tmp_path / "copied"


def test_hostile_paths_of_files(home: Home, tmp_path: Path, copied: Path) -> None:
    files = {f"cfile_{number}": path for number, path in enumerate([*NAMES, *(f"/mnt/data/{name}" for name in NAMES)])}
    with Service() as service:
        service.respond = Hostile({"cntr_1": "container"}, files)
        with home.mounted("--url", service.url) as mount:
            before = everything(tmp_path, but=(mount.path, home.cache_dir, copied))
            assert os.listdir(mount.path) == ["container"]
            assert read_all(mount) == sorted(id.encode() for id in files)
            home.run("cp", "-r", mount / "container", copied)
            assert everything(tmp_path, but=(mount.path, home.cache_dir, copied)) == before
            assert (mount / "container" / "ordinary").read_bytes() == f"cfile_{NAMES.index('ordinary')}".encode()


def test_hostile_names_of_containers(home: Home, tmp_path: Path) -> None:
    containers = {f"cntr_{number}": name for number, name in enumerate(NAMES)}
    with Service() as service:
        service.respond = Hostile(containers, {"cfile_1": "/mnt/data/file"})
        with home.mounted("--url", service.url) as mount:
            before = everything(tmp_path, but=(mount.path, home.cache_dir))
            assert len(os.listdir(mount.path)) == len(containers)
            assert read_all(mount) == [b"cfile_1"] * len(containers)
            assert everything(tmp_path, but=(mount.path, home.cache_dir)) == before
            ids = {os.getxattr(mount / name, "user.containerfs.id").decode() for name in os.listdir(mount.path)}
            assert ids == set(containers)


def test_hostile_ids(home: Home, tmp_path: Path) -> None:
    files = {id: f"/mnt/data/file {number}" for number, id in enumerate(IDS)}
    with Service() as service:
        service.respond = Hostile({id: f"container {number}" for number, id in enumerate(IDS)}, files)
        with home.mounted("--url", service.url) as mount:
            before = everything(tmp_path, but=(mount.path, home.cache_dir))
            assert read_all(mount) == sorted([id.encode() for id in IDS] * len(IDS))
            assert everything(tmp_path, but=(mount.path, home.cache_dir)) == before
            assert all(path.is_relative_to(home.cache_dir) for path in home.cache_dir.rglob("*"))


@pytest.mark.parametrize("id", [".", "..", "", "../../escaped", "..%2f..%2fescaped"])
def test_an_id_that_no_url_can_hold(home: Home, id: str) -> None:
    """What has such an id cannot be asked for; everything else can."""
    with Service() as service:
        service.respond = Hostile({id: "unusable", "cntr_1": "usable"}, {id: "/mnt/data/unusable", "cfile_1": "usable"})
        with home.mounted("--url", service.url) as mount:
            assert (mount / "usable" / "usable").read_bytes() == b"cfile_1"
            assert "Input/output error" in home.fails("cat", mount / "usable" / "unusable")
            assert "Input/output error" in home.fails("ls", mount / "unusable")


def test_several_files_of_one_path(home: Home) -> None:
    """The newest has the path, the others are shown with their ids."""
    with Service() as service:
        service.respond = Hostile({"cntr_1": "container"}, dict.fromkeys(("new", "old", "older"), "/mnt/data/file"))
        with home.mounted("--url", service.url) as mount:
            shown = {name: (mount / "container" / name).read_text() for name in os.listdir(mount / "container")}
    assert shown == {"file": "new", "file (old)": "old", "file (older)": "older"}


def test_a_file_and_a_directory_of_one_path(home: Home) -> None:
    with Service() as service:
        service.respond = Hostile({"cntr_1": "container"}, {"one": "/mnt/data/a", "two": "/mnt/data/a/b"})
        with home.mounted("--url", service.url) as mount:
            assert read_all(mount) == [b"one", b"two"]
            assert (mount / "container" / "a" / "b").read_text() == "two"


def test_a_listed_file_without_content(home: Home) -> None:
    def respond(request: Request) -> Reply:
        if request.path.endswith("/bogus/content"):
            return Reply({"error": {"message": "File bogus not found on container cntr_1"}}, status=404)
        return hostile(request)

    hostile = Hostile({"cntr_1": "container"}, {"bogus": "/mnt/data/bogus", "good": "/mnt/data/good"})
    with Service() as service:
        service.respond = respond
        with home.mounted("--url", service.url) as mount:
            assert "Input/output error" in home.fails("cat", mount / "container" / "bogus")
            assert (mount / "container" / "good").read_text() == "good"


def test_more_or_less_content_than_was_listed(home: Home) -> None:
    """A body of another size than the listing's is an error, and never a file."""

    def respond(request: Request) -> Reply:
        if request.path.endswith("/long/content"):
            return Reply(b"much longer than it was listed")
        if request.path.endswith("/short/content"):
            return Reply(b"s")
        return hostile(request)

    hostile = Hostile({"cntr_1": "container"}, {"long": "/mnt/data/long", "short": "/mnt/data/short"})
    with Service() as service:
        service.respond = respond
        with home.mounted("--url", service.url) as mount:
            for name in ("long", "short"):
                assert "Input/output error" in home.fails("cat", mount / "container" / name)
