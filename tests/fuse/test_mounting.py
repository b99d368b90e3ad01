"""What a mount is told, and what it tells: which service it is, where things lie, what it is doing."""

import json
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuse.mounted import FUSERMOUNT, NOTHING_DUE, REFRESH, Home, Mount, children
from tests.fuse.namespace import namespace
from tests.server.live import LiveServer


def test_without_settings_it_is_the_embedded_store_in_the_users_directories(home: Home) -> None:
    with home.mounted() as mount:
        (mount / "container").mkdir()
    store = home.path / ".local" / "share" / "containerfs" / "store"
    assert mount.said == f"Mounted embedded store in {store} on {mount.path}\n"
    assert store.is_dir()


def test_the_environment_names_the_service(server: LiveServer, home: Home) -> None:
    with home.mounted(env={"OPENAI_BASE_URL": server.address, "OPENAI_API_KEY": "sk-secret"}) as mount:
        assert mount.said == f"Mounted {server.address} on {mount.path}\n"
        assert "sk-secret" not in json.dumps(mount.status())


@pytest.mark.parametrize("flag", ["--url", "--local"])
def test_a_flag_wins_over_the_environment(server: LiveServer, home: Home, tmp_path: Path, flag: str) -> None:
    options = {"--url": ("--url", server.address), "--local": ("--local", "--data-dir", tmp_path / "store")}[flag]
    meant = {"--url": server.address, "--local": f"embedded store in {tmp_path / 'store'}"}[flag]
    with home.mounted(*options, env={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}) as mount:
        assert mount.said == f"Mounted {meant} on {mount.path}\n"


def test_a_profile_names_the_service(server: LiveServer, home: Home) -> None:
    config = home.path / ".config" / "containerfs" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[profiles.work]\nurl = "{server.address}"\n')
    with home.mounted("--profile", "work") as mount:
        assert mount.said == f"Mounted {server.address} on {mount.path}\n"
    said = home.refused_mount("--profile", "play")
    assert said == f"profile: there is no [profiles.play] in {config}"


def test_directories_may_be_relative(home: Home, tmp_path: Path) -> None:
    options = ("--local", "--data-dir", "store", "--cache-dir", "cache")
    with home.mounted(*options, at=Path("mnt"), cwd=tmp_path):
        (tmp_path / "mnt" / "container").mkdir()
        (tmp_path / "mnt" / "container" / "file").write_text("content")
        assert (tmp_path / "mnt" / "container" / "file").read_text() == "content"
    assert (tmp_path / "store").is_dir()
    assert (tmp_path / "cache").is_dir()


def test_names_of_directories_that_need_care(home: Home, tmp_path: Path) -> None:
    top = tmp_path / "with spaces, commas\nand 🗂️ \\040"
    top.mkdir()
    with home.mounted("--local", "--data-dir", top / "store", at=top / "mount point") as mount:
        (mount / "container").mkdir()
        assert mount.status()["service"] == f"embedded store in {top / 'store'}"
    assert os.listdir(mount.path) == []


def test_a_mountpoint_behind_a_symbolic_link(home: Home, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with home.mounted("--local", "--data-dir", tmp_path / "store", at=tmp_path / "link" / "mnt") as mount:
        (mount / "container").mkdir()
        assert os.listdir(tmp_path / "real" / "mnt") == ["container"]


def test_a_mountpoint_that_is_a_symbolic_link(server: LiveServer, home: Home, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with home.mounted("--url", server.address, at=tmp_path / "link") as mount:
        assert "is already mounted" in home.refused_mount("--url", server.address, at=mount.path)
        assert home.run("containerfs", "status", mount.path).startswith(server.address)
        with mount.ended():
            home.run("containerfs", "unmount", mount.path)
    assert not os.path.ismount(tmp_path / "real")


ODD_NAMES = [b"a b\tc\nd\re", b"\\040 \\", b"#\xff", "\x85\u2028🗂️".encode()]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_mountpoint_with_an_odd_name(server: LiveServer, home: Home, tmp_path: Path, name: bytes) -> None:
    """In a namespace of its own, because other programs stumble over such lines in the machine's table of mounts."""
    mountpoint = tmp_path / os.fsdecode(name)
    with namespace("") as prefix:
        alone = Home(home.path, prefix)
        options = ("--url", server.address, "--cache-dir", alone.cache_dir)
        strict = {"PYTHONIOENCODING": "utf-8:strict"}  # as in most locales; not in C.UTF-8
        alone.run("containerfs", "mount", mountpoint, *options, env=strict)
        assert "is already mounted" in alone.fails("containerfs", "mount", mountpoint, *options)
        assert alone.run("containerfs", "status", mountpoint).startswith(server.address)
        in_use = 'cd -- "$1"; exec containerfs unmount "$1"'
        assert "busy" in alone.fails("sh", "-c", in_use, "sh", mountpoint)
        alone.run("containerfs", "unmount", mountpoint)
        assert "is not a mount" in alone.fails("containerfs", "unmount", mountpoint)


def test_an_odd_name_elsewhere_on_the_machine(server: LiveServer, home: Home, tmp_path: Path) -> None:
    """A directory of any user's, mounted by any program, does not concern a mount."""
    script = 'for each; do mkdir "$each"; mount -t tmpfs "$each" "$each"; done'
    with namespace(script, *(tmp_path / os.fsdecode(name) for name in ODD_NAMES)) as prefix:
        alone, mountpoint = Home(home.path, prefix), home.path / "mnt"
        alone.run("containerfs", "mount", mountpoint, "--url", server.address, "--cache-dir", alone.cache_dir)
        assert alone.run("containerfs", "status", mountpoint).startswith(server.address)
        alone.run("containerfs", "unmount", mountpoint)


def test_the_table_of_mounts(mount: Mount, server: LiveServer) -> None:
    (line,) = (line for line in mount.home.run("mount").splitlines() if f" on {mount.path} type " in line)
    assert line.startswith(f"{server.address} on {mount.path} type fuse.containerfs (rw,")


def test_status(mount: Mount, server: LiveServer) -> None:
    told = json.loads(mount.home.run("containerfs", "status", mount.path, "--json"))
    assert (told["pid"], told["service"]) == (mount.pid, server.address)
    assert told["uploads"] == NOTHING_DUE
    shown = mount.home.run("containerfs", "status", mount.path)
    assert shown.startswith(f"{server.address} on {mount.path}, process {mount.pid}\n")
    assert "uploads: 0 under way, 0 waiting, 0 failed" in shown


def test_attributes_can_be_shown_by_the_usual_program(mount: Mount, container: Path) -> None:
    (container / "file").write_text("content")
    shown = mount.home.run("getfattr", "-n", "user.containerfs.state", "--absolute-names", container / "file")
    assert 'user.containerfs.state="clean"\n' in shown
    assert mount.home.run("getfattr", "-d", "-m", "-", "--absolute-names", container / "file") == ""
    told = mount.home.run("getfattr", "--only-values", "-n", "user.containerfs.status", "--absolute-names", mount.path)
    assert json.loads(told)["pid"] == mount.pid


def test_refresh_and_sync(server: LiveServer, mount: Mount, home: Home, container: Path) -> None:
    with home.mounted("--url", server.address, "--write-back", "--metadata-expiry", "1h") as other:
        assert os.listdir(other / container.name) == []
        (container / "one").write_text("1")
        home.run("containerfs", "refresh", other / container.name)
        assert os.listdir(other / container.name) == ["one"]
        (other / container.name / "two").write_text("2")
        home.run("containerfs", "sync", other / container.name)
        os.setxattr(container, REFRESH, b"")
        assert sorted(os.listdir(container)) == ["one", "two"]


def test_two_mounts_of_one_cache(server: LiveServer, mount: Mount, home: Home, container: Path) -> None:
    """Two mounts may share a cache directory; each has a journal of its own."""
    (container / "file").write_text("content")
    cache = ("--cache-dir", home.cache_dir)
    with (
        home.mounted("--url", server.address, *cache, at=home.path / "one") as one,
        home.mounted("--url", server.address, *cache, at=home.path / "two") as two,
    ):
        assert (one / container.name / "file").read_text() == "content"
        assert (two / container.name / "file").read_text() == "content"
        (one / container.name / "from one").write_text("1")
        (two / container.name / "from two").write_text("2")
        one.unmount()
        assert (two / container.name / "from two").read_text() == "2"
    assert sorted(os.listdir(mount.anew(container))) == ["file", "from one", "from two"]


def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes(home: Home, tmp_path: Path) -> None:
    """Of the mount and of its store, whatever the shell's soft limit is."""
    limited = Home(home.path, ("sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh"))
    with limited.mounted("--local", "--data-dir", tmp_path / "store") as mount:
        for pid in (mount.pid, *children(mount.pid)):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            assert soft == hard > 256


def test_the_kernel_asks_for_large_pieces_where_that_may_be_set(mount: Mount) -> None:
    device = os.stat(mount.path).st_dev
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    assert int(setting.read_text()) == (1024 if os.access(setting, os.W_OK) else 128)


def test_two_that_mount_at_the_same_place_at_once(server: LiveServer, home: Home) -> None:
    mountpoint = home.path / "mnt"
    mount = ("containerfs", "mount", mountpoint, "--url", server.address, "--cache-dir", home.cache_dir)
    try:
        for _ in range(3):
            with ThreadPoolExecutor() as both:
                tried = [each.result() for each in [both.submit(home.attempt, *mount) for _ in range(2)]]
            (refused,) = (done.stderr for done in tried if done.returncode)
            assert "is already mounted" in refused or "another command is just mounting" in refused
            home.run("containerfs", "unmount", mountpoint)
            assert not mountpoint.is_mount()
    finally:
        home.attempt(FUSERMOUNT, "-uz", mountpoint)


def test_sync_of_a_file_is_refused(mount: Mount, container: Path) -> None:
    (container / "file").write_bytes(b"content")
    said = mount.home.fails("containerfs", "sync", container / "file")
    assert said == f"containerfs sync: {container / 'file'} is not a directory\n"
