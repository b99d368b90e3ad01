"""Settings of a server: flags win over the environment, that over the config file, that over defaults."""

import dataclasses
from pathlib import Path

import httpx
import pytest

from containerfs.config import ConfigFile, SettingsError
from containerfs.server import settings
from containerfs.server.options import ServerOptions
from tests.server.conftest import answered, create
from tests.server.live import running_server
from tests.server.test_process import refusal


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config file, for this process and for those that it starts."""
    path = tmp_path / "config" / "containerfs" / "config.toml"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(ConfigFile, "path", path)
    return path


def largest_upload(base_url: str) -> int:
    """What the server says is its largest upload."""
    with httpx.Client(base_url=base_url) as http:
        container = create(http)
        refused = answered(http.post(f"/containers/{container['id']}/files", files={"file": bytes(10_000)}), 413)
    return int("".join(filter(str.isdigit, refused["error"]["message"])))


def test_flags_then_the_environment_then_the_file(
    tmp_path: Path, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text('cache_size = "1G"\n[serve]\nmax_upload_size = "3K"\ndefault_expiry = "20m"\n')
    with running_server(tmp_path / "store") as server, httpx.Client(base_url=server.base_url) as http:
        assert create(http)["expires_after"]["minutes"] == 20
        assert largest_upload(server.base_url) == 3072
    monkeypatch.setenv("CONTAINERFS_MAX_UPLOAD_SIZE", "2K")
    with running_server(tmp_path / "store") as server:
        assert largest_upload(server.base_url) == 2048
    with running_server(tmp_path / "store", "--max-upload-size", "1K") as server:
        assert largest_upload(server.base_url) == 1024


def test_all_of_them_from_the_environment(monkeypatch: pytest.MonkeyPatch, config_file: Path) -> None:
    values = {
        "HOST": "::1",
        "PORT": "9",
        "UDS": "~/s",
        "DATA_DIR": "/data",
        "ALLOWED_HOSTS": "a.example, b.example",
        "API_KEYS": "keys",
        "METRICS": "[::1]:9100",
        "MAX_UPLOAD_SIZE": "0",
        "DEFAULT_EXPIRY": "12h",
        "TIMEOUT": "1m",
        "SHUTDOWN_TIMEOUT": "5",
        "SWEEP_INTERVAL": "500ms",
        "ACCESS_LOG": "false",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"CONTAINERFS_{name}", value)
    found = settings.load()
    assert (found.host, found.port, found.uds) == ("::1", 9, Path.home() / "s")
    assert (found.data_dir, found.api_keys) == (Path("/data"), Path("keys"))
    assert found.allowed_hosts == ("a.example", "b.example")
    assert found.metrics == ("::1", 9100)
    assert found.limits.max_upload_size is None
    assert found.default_expiry is not None
    assert found.default_expiry.minutes == 720
    assert (found.timeout, found.shutdown_timeout, found.sweep_interval) == (60, 5, 0.5)
    assert not found.access_log


def test_lists_and_numbers_in_the_file(config_file: Path) -> None:
    config_file.write_text('[serve]\nport = 1234\nallowed_hosts = ["a.example"]\naccess_log = false\n')
    found = settings.load()
    assert (found.port, found.allowed_hosts, found.access_log) == (1234, ("a.example",), False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("metrics", "localhost"),
        ("metrics", "localhost:0"),
        ("max_upload_size", "many"),
        ("default_expiry", "30s"),
        ("default_expiry", "soon"),
        ("timeout", "0"),
        ("shutdown_timeout", "-1"),
        ("access_log", "perhaps"),
    ],
)
def test_what_is_invalid_is_named(config_file: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        settings.load(**{name: value})


def test_there_is_a_setting_for_each_option_of_a_server() -> None:
    options = {field.name for field in dataclasses.fields(ServerOptions)}
    assert options - set(settings.ServerSettings.model_fields) == {"until_stdin_ends"}


def test_a_server_says_so_in_one_line(config_file: Path) -> None:
    assert refusal("--port", "65536").startswith("containerfs serve: port: ")
    config_file.write_text("[serve]\nprot = 80\n")
    assert refusal().startswith("containerfs serve: prot: ")
    config_file.write_text("serve")
    assert str(config_file) in refusal()
