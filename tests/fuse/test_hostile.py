"""Names and ids as no service should send them: they never lead out of the mount or the cache, and hide nothing."""

import errno
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from containerfs.api.dialect import FEATURES_HEADER
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


SIZES = [1 << 70, (1 << 63) - 1, 1 << 47, -5, "12", 1e300, 12.5, True, [1], None]
TIMES = [1 << 70, (1 << 63) - 1, -(1 << 63), 1e300, "2020", -1, {}]
ATTRIBUTES = [
    {name: value}
    for name, values in {
        "mode": (1 << 40, -1, "rwx", 0o170777),
        "uid": (1 << 40, -1, (1 << 32) - 1),
        "gid": (1 << 40, -7),
        "mtime_ns": (1 << 80, -(1 << 80), 1e300, 1 << 66, -(1 << 66)),
    }.items()
    for value in values
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


def beginning(path: Path) -> bytes | int | None:
    """What a file begins with, or the number of the error."""
    with path.open("rb", buffering=0) as file:
        try:
            return file.read(64)
        except OSError as error:
            return error.errno


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


def test_numbers_that_no_file_can_have(home: Home) -> None:
    """They are not shown, and hide nothing; a file that is said to be huge takes no memory before it arrives."""
    files = [
        {"id": f"size {number}", "path": f"/mnt/data/size {number}", "bytes": size} for number, size in enumerate(SIZES)
    ]
    files += [
        {"id": f"time {number}", "path": f"/mnt/data/time {number}", "bytes": 6, "created_at": time}
        for number, time in enumerate(TIMES)
    ]
    files += [
        {"id": f"kept {number:02}", "path": f"/mnt/data/kept {number:02}", "bytes": 7, "attributes": attributes}
        for number, attributes in enumerate(ATTRIBUTES)
    ]
    container = {
        "id": "cntr_1",
        "name": "box",
        "status": "running",
        "created_at": 1 << 70,
        "expires_at": 1 << 70,
        "file_count": -1,
    }

    def respond(request: Request) -> Reply:
        match unquote(request.target.partition("?")[0]).split("/")[3:]:
            case []:
                return page(
                    [
                        container,
                        container
                        | {
                            "id": "cntr_2",
                            "name": "other",
                            "last_active_at": 1 << 70,
                            "expires_after": {"anchor": "last_active_at", "minutes": 1 << 70},
                        },
                    ]
                )
            case [_, "files"]:
                return page(files)
            case [_, "files", id, "content"]:
                return Reply(id.encode())
        return Reply(container)

    with Service() as service:
        service.respond = lambda request: replace(respond(request), headers={FEATURES_HEADER: "attributes"})
        with home.mounted("--url", service.url) as mount:
            assert {path.name for path in mount.path.iterdir()} >= {"box", "other"}
            box = mount / "box"
            home.run("ls", "-l", box)
            assert {path.name for path in box.iterdir()} == {str(file["id"]) for file in files}
            for path in box.iterdir():
                path.stat()
                assert beginning(path) in (path.name.encode(), errno.EIO), path.name
            home.run("containerfs", "status", mount.path)
    assert "Traceback" not in (home.cache_dir / "mount.log").read_text()
