"""The units of systemd in deploy/: their commands run, with their settings, and end as systemd ends them."""

import configparser
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.deploy.proxies import DEPLOY
from tests.server.conftest import create
from tests.server.live import READY, eventually, running_server
from tests.server.test_workers import children_of

PROGRAM = "/opt/containerfs/.venv/bin/containerfs"


class Unit:
    """A unit's section [Service], with its specifiers replaced."""

    def __init__(self, name: str, instance: str, home: Path) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        text = (DEPLOY / name).read_text().replace("%i", instance).replace("%h", str(home))
        parser.read_string(text)
        self._service = parser["Service"]

    def command(self, key: str) -> list[str]:
        program, *arguments = shlex.split(self._service[key])
        return [sys.executable, "-m", "containerfs", *arguments] if program == PROGRAM else [program, *arguments]

    def environment(self) -> dict[str, str]:
        return dict(setting.split("=", 1) for setting in shlex.split(self._service.get("Environment", "")))


def test_a_server(tmp_path: Path) -> None:
    unit = Unit("containerfs.service", "", tmp_path)
    environment = unit.environment()
    assert environment == {"XDG_CONFIG_HOME": "/etc", "CONTAINERFS_DATA_DIR": "/var/lib/containerfs"}
    (tmp_path / "containerfs").mkdir()
    (tmp_path / "containerfs" / "config.toml").write_text('[serve]\ndefault_expiry = "20m"\n')
    here = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "CONTAINERFS_DATA_DIR": str(tmp_path / "store")}
    command = [argument.replace("8080", "0") for argument in unit.command("ExecStart")]
    with subprocess.Popen(command, env=here, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip().removeprefix(READY)
        with httpx.Client(base_url=address, timeout=60) as http:
            assert create(http)["expires_after"]["minutes"] == 20
        assert len(children_of(process.pid)) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert (tmp_path / "store" / "metadata.sqlite3").exists()


def test_a_mount(tmp_path: Path) -> None:
    unit = Unit("containerfs-mount@.service", "azure", tmp_path)
    with running_server(tmp_path / "store") as server:
        (tmp_path / "containerfs").mkdir()
        (tmp_path / "containerfs" / "config.toml").write_text(f'[profiles.azure]\nurl = "{server.base_url}"\n')
        here = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        subprocess.run(unit.command("ExecStartPre"), check=True)
        mountpoint = tmp_path / "containers" / "azure"
        with subprocess.Popen(unit.command("ExecStart"), env=here) as process:
            try:
                eventually(lambda: process.poll() is not None or os.path.ismount(mountpoint))
                (mountpoint / "project").mkdir()
                (mountpoint / "project" / "file").write_text("content")
            finally:
                subprocess.run(unit.command("ExecStop"), env=here, check=True, timeout=60)
            assert process.wait(60) == 0
        with httpx.Client(base_url=server.base_url) as http:
            assert [container["name"] for container in http.get("/containers").json()["data"]] == ["project"]


def test_a_mount_for_all_users(tmp_path: Path) -> None:
    """Its commands, at places of the test's own, and for one user only: others take a setting of libfuse's."""
    unit = Unit("containerfs-system@.service", "azure", tmp_path)
    assert unit.environment() == {"XDG_CONFIG_HOME": "/etc", "CONTAINERFS_CACHE_DIR": "/var/cache/containerfs/azure"}

    def here_not_there(key: str) -> list[str]:
        words = [word.replace("/srv/containers", str(tmp_path / "srv")) for word in unit.command(key)]
        return [word for word in words if word not in ("-o", "allow_other")]

    with running_server(tmp_path / "store") as server:
        (tmp_path / "containerfs").mkdir()
        (tmp_path / "containerfs" / "config.toml").write_text(f'[profiles.azure]\nurl = "{server.base_url}"\n')
        here = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "CONTAINERFS_CACHE_DIR": str(tmp_path / "cache")}
        subprocess.run(here_not_there("ExecStartPre"), check=True)
        mountpoint = tmp_path / "srv" / "azure"
        with subprocess.Popen(here_not_there("ExecStart"), env=here) as process:
            try:
                eventually(lambda: process.poll() is not None or os.path.ismount(mountpoint))
                (mountpoint / "project").mkdir()
            finally:
                subprocess.run(here_not_there("ExecStop"), env=here, check=True, timeout=60)
            assert process.wait(60) == 0
