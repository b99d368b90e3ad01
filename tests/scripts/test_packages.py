"""What is handed out installs where nothing of it is, and runs there: wheel, source distribution and Debian package."""

import gzip
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from containerfs import __version__
from tests.fuse.mounted import FUSERMOUNT, Home
from tests.scripts.conftest import ROOT

LIMIT = 300.0  # seconds for the installation of all dependencies
READY = "containerfs serve: listening on "
pytestmark = pytest.mark.timeout(2 * LIMIT)


def run(*command: str | Path, **options: str) -> str:
    """Run a program that is to succeed; returns what it writes to standard output."""
    env = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def check_that_it_runs(program: list[str | Path], home: Home) -> None:
    """It tells its version, serves, and mounts what it serves: its own store, and another's."""
    assert home.run(*program, "--version") == f"containerfs {__version__}\n"
    command = [*program, "serve", "--port", "0", "--data-dir", home.path / "store"]
    mountpoint = home.path / "mnt"
    with subprocess.Popen(command, env=home.environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip().removeprefix(READY)
            for service in (["--url", url], ["--local", "--data-dir", home.path / "embedded"]):
                home.run(*program, "mount", mountpoint, "--cache-dir", home.cache_dir, *service)
                (mountpoint / "project").mkdir()
                (mountpoint / "project" / "file").write_text("content")
                assert (mountpoint / "project" / "file").read_text() == "content"
                home.run(*program, "unmount", mountpoint)
        finally:
            home.attempt(FUSERMOUNT, "-uz", mountpoint)
            server.terminate()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution."""
    directory = tmp_path_factory.mktemp("source")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", directory, cwd=str(ROOT))
    return directory / f"containerfs-{__version__}.tar.gz"


def wheel(source: Path, directory: Path) -> Path:
    """The wheel that is made of a checkout, or of a source distribution."""
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", directory)
    run(*pip, source)
    return next(directory.glob("*.whl"))


def test_the_source_distribution_has_all_that_the_wheel_is_made_of(source: Path, tmp_path: Path) -> None:
    names = [zipfile.ZipFile(wheel(each, tmp_path / each.name)).namelist() for each in (source, ROOT)]
    assert sorted(names[0]) == sorted(names[1])
    assert "containerfs/py.typed" in names[0]
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "constraints.txt", "scripts/setup"} <= held


def test_the_wheel_runs_in_an_empty_environment(source: Path, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False, symlinks=True)
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
    run(*pip, "install", "-q", wheel(source, tmp_path))
    check_that_it_runs([environment / "bin" / "containerfs"], Home(tmp_path / "home"))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package."""
    who = {"DEBFULLNAME": "Jo Builder", "DEBEMAIL": "jo@builder.example"}
    return Path(
        run("env", *map("=".join, who.items()), ROOT / "scripts" / "deb", tmp_path_factory.mktemp("deb")).strip()
    )


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unpacked")
    run("dpkg-deb", "-x", package, directory)
    return directory


def test_the_package_is_installed_run_and_removed(package: Path, tmp_path: Path) -> None:
    """By dpkg, into a root of its own, which has nothing of what the package depends on."""
    root = tmp_path / "root"
    (root / "var" / "lib" / "dpkg" / "updates").mkdir(parents=True)
    (root / "var" / "lib" / "dpkg" / "info").mkdir()
    (root / "var" / "lib" / "dpkg" / "status").touch()
    dpkg = ("dpkg", f"--root={root}", "--force-not-root", f"--log={tmp_path / 'log'}")
    run(*dpkg, "--force-depends", "-i", package)
    assert "Status: install ok installed" in run(*dpkg, "-s", "containerfs")
    assert run(*dpkg, "--verify", "containerfs") == ""
    check_that_it_runs([root / "usr/lib/containerfs/bin/python", "-B", "-m", "containerfs"], Home(tmp_path / "home"))
    run(*dpkg, "-r", "containerfs")
    assert [path for path in root.rglob("*containerfs*") if path.is_file()] == []


def test_the_package_runs(unpacked: Path, tmp_path: Path) -> None:
    python = unpacked / "usr" / "lib" / "containerfs" / "bin" / "python"
    check_that_it_runs([python, "-m", "containerfs"], Home(tmp_path / "home"))


def test_the_package_has_all_that_belongs_to_it(unpacked: Path) -> None:
    usr = unpacked / "usr"
    assert (usr / "bin" / "containerfs").resolve() == usr / "lib" / "containerfs" / "bin" / "containerfs"
    helper = usr / "sbin" / "mount.fuse.containerfs"
    assert helper.resolve() == usr / "lib" / "containerfs" / "bin" / "mount.containerfs"
    for program in (usr / "bin" / "containerfs", helper):
        assert program.read_text().startswith("#!/usr/lib/containerfs/bin/python\n")
        assert os.access(program, os.X_OK)
    for unit in ("system/containerfs.service", "system/containerfs-system@.service", "user/containerfs-mount@.service"):
        text = (usr / "lib" / "systemd" / unit).read_text()
        assert "ExecStart=/usr/bin/containerfs " in text
        assert "/opt/" not in text
    share = usr / "share"
    assert "containerfs mount" in gzip.decompress(
        (share / "man" / "man1" / "containerfs-mount.1.gz").read_bytes()
    ).decode().replace("\\", "")
    for shell in ("bash-completion/completions", "zsh/vendor-completions", "fish/vendor_completions.d"):
        (script,) = (share / shell).iterdir()
        assert "_CONTAINERFS_COMPLETE" in script.read_text()
    held = {path.name for path in (share / "doc" / "containerfs").iterdir()}
    assert held == {"README.md", "SECURITY.md", "changelog.gz", "copyright", "docs"}


def test_the_package_is_as_debian_wants_it(package: Path, unpacked: Path) -> None:
    """As lintian looks for: owners, modes, fields, sums, and nothing that names the place where it was built."""
    for line in run("dpkg-deb", "-c", package).splitlines():
        mode, owner, *_ = line.split()
        assert owner == "root/root"
        assert mode[0] == "l" or re.fullmatch(r"drwxr-xr-x|-rw-r--r--|-rwxr-xr-x", mode), line
    fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "-f", package).splitlines() if line[0] != " ")
    assert fields["Version"] == __version__
    assert fields["Maintainer"] == "Jo Builder <jo@builder.example>"
    assert {"fuse3", "libc6"} <= {each.split()[0] for each in fields["Depends"].split(", ")}
    assert package.name == f"containerfs_{__version__}_{fields['Architecture']}.deb"
    run("dpkg-deb", "-e", package, unpacked / "DEBIAN")
    run("md5sum", "--check", "--quiet", "DEBIAN/md5sums", cwd=str(unpacked))
    built = re.compile(rb"/tmp\.\w+/root/usr|" + re.escape(os.fsencode(ROOT)))
    files = [path for path in (unpacked / "usr").rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if built.search(path.read_bytes())] == []
