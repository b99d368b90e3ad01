"""Settings as commands have them: mistakes are named, and the key comes from where it is kept."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import PasswordSetError

from containerfs import config
from containerfs.config import SettingsError
from tests.cli.box import Box
from tests.cli.tool import Tool


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config file of a user without any settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("CONTAINERFS_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "CONTAINERFS_URL"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "containerfs" / "config.toml"
    path.parent.mkdir()
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('cache_sice = "50G"', "there is no setting cache_sice; do you mean cache_size?"),
        ('[profiles.work]\nurl_ = "http://x/v1"', "there is no setting url_ (in [profiles.work]); do you mean url?"),
        ("qqqqqqq = 1", "there is no setting qqqqqqq"),
    ],
)
def test_what_is_no_setting_is_an_error(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as raised:
        config.load()
    assert str(raised.value) == f"{file}: {said}"


@pytest.mark.parametrize("content", [b"\xff", b"x = [", b"\0"])
def test_a_file_that_is_no_text_or_not_toml(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=str(file)):
        config.load()


def test_what_is_a_servers_is_of_no_concern_to_a_mount(file: Path) -> None:
    file.write_text("[serve]\nworkers = 2\n")
    config.load()


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://host:8080", "http://host:8080/v1"),
        ("http://host:8080/", "http://host:8080/v1"),
        ("http://host/v1", "http://host/v1"),
        ("https://host/openai/v1", "https://host/openai/v1"),
        ("https://host/gateway", "https://host/gateway"),
    ],
)
def test_a_mere_host_gets_its_version(file: Path, url: str, meant: str) -> None:
    assert config.load(url=url).service_url == meant


def test_a_url_that_is_not_that_of_the_api_is_named(tool: Tool) -> None:
    wrong = tool.url.removesuffix("/v1") + "/v2"
    said = tool.fails("ls", "--url", wrong, status=3)
    assert f"check the URL, which usually ends in /v1, as {wrong}/v1" in said


def test_a_url_without_its_version_works(tool: Tool, box: Box) -> None:
    assert box.name in tool.lines("ls", "--url", tool.url.removesuffix("/v1"))


def test_a_command_prints_the_key(file: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    program = f"open({str(count)!r}, 'a').write('x'); print('sk-' + 'printed'); print('more')"
    file.write_text(f"api_key_command = '''{sys.executable} -c {shlex.quote(program)}'''\n")
    settings = config.load()
    assert settings.key == settings.key == "sk-printed"
    assert settings.service_url == config.OPENAI_URL
    assert count.read_text() == "x"
    assert "sk-printed" not in repr(settings)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-command-here", "api_key_command: No such file or directory: no-such-command-here"),
        ("false", "api_key_command: ended with status 1: false"),
        ("true", "api_key_command: has printed nothing: true"),
        ("echo 'unbalanced", "api_key_command: No closing quotation: echo 'unbalanced"),
    ],
)
def test_a_command_that_fails(file: Path, command: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        _ = config.load(api_key_command=command).key
    assert str(raised.value) == said


def test_a_limit_of_what_goes_over_the_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load().bwlimit == (0, 0)
    monkeypatch.setenv("CONTAINERFS_BWLIMIT", "500K:2M")
    assert config.load().bwlimit == (500 << 10, 2 << 20)
    with pytest.raises(SettingsError, match="bwlimit: 'fast' is not a size like 500M or 10G"):
        config.load(bwlimit="fast")


class Passwords(KeyringBackend):
    """A keyring that has one password."""

    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        return "sk-kept" if (service, username) in {("work", "me"), ("plain", "api-key")} else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise PasswordSetError("this keyring is read-only")


@pytest.fixture
def passwords() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(Passwords())
    yield
    keyring.set_keyring(before)


@pytest.mark.parametrize("entry", ["work/me", "plain"])
def test_the_keyring_has_the_key(file: Path, passwords: None, entry: str) -> None:
    file.write_text(f'api_key_keyring = "{entry}"\n')
    assert config.load().key == "sk-kept"


def test_the_keyring_has_nothing(file: Path, passwords: None) -> None:
    with pytest.raises(SettingsError) as raised:
        _ = config.load(api_key_keyring="other/me").key
    assert str(raised.value) == "api_key_keyring: the keyring has nothing for other: keyring set other me"


def test_the_library_is_missing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match=r"pip install 'containerfs\[keyring\]'"):
        _ = config.load(api_key_keyring="work").key
