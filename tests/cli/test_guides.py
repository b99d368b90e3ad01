"""README, quick start and guides are true: their commands run, in order, in the home of somebody new.

``sh`` blocks are run. Everything else is shown only, and says so.
"""

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.config import SettingsError, load
from tests.conformance.dialects import Azure
from tests.fuse.mounted import FUSERMOUNT, Home, released_after
from tests.server.hosted import Clock, application, hosted, opened
from tests.server.live import LiveServer, running_server

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = DOCS / "guides"
_END = "trap 'jobs -p | xargs --no-run-if-empty kill; wait' EXIT"  # what was started with & does not stay behind


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", guide.read_text(), re.MULTILINE | re.DOTALL)


def follow(home: Home, guide: Path, replaced: dict[str, str], **environment: str) -> str:
    """Do what a guide says, with a few words replaced; returns what is printed."""
    script = "\n".join([_END, *blocks(guide, "sh")])
    for words, instead in replaced.items():
        assert words in script
        script = script.replace(words, instead)
    try:
        with released_after(80):
            done = home.attempt("bash", "-ec", script, env=environment, timeout=100)
        assert done.returncode == 0, done
        return done.stdout
    finally:
        for path in home.path.iterdir():
            if os.path.ismount(path):
                subprocess.run([FUSERMOUNT, "-uz", path], check=False)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("guides") / "store") as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_quick_start(home: Home) -> None:
    printed = follow(home, DOCS / "QUICK_START.md", {})
    assert "a,b\n" in printed
    assert (home.path / "table.csv").read_text() == "a,b\n"


def test_openai(home: Home, service: LiveServer) -> None:
    follow(home, GUIDES / "openai.md", {"sk-…": "sk-test"}, OPENAI_BASE_URL=service.address)
    assert (home.path / "analysis" / "input.txt").read_text() == Path("/etc/hostname").read_text()


def test_azure(home: Home, tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store, hosted(Azure(application(store, Clock()))) as url:
        replaced = {"https://RESOURCE.openai.azure.com/openai/v1": url}
        printed = follow(home, GUIDES / "azure.md", replaced, AZURE_OPENAI_API_KEY="sk-test")
    assert re.search("^ok +service: ", printed, re.MULTILINE)


def test_litellm(home: Home, service: LiveServer) -> None:
    printed = follow(home, GUIDES / "litellm.md", {"http://127.0.0.1:4000/v1": service.address}, LITELLM_KEY="sk-test")
    assert "hostname" in printed


def test_a_server_of_ones_own(home: Home) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    follow(home, GUIDES / "self-hosted.md", {"8080": str(port)})
    assert (home.path / "backup" / "metadata.sqlite3").exists()


def test_ci_jobs(home: Home, service: LiveServer) -> None:
    printed = follow(home, GUIDES / "ci.md", {}, CONTAINERFS_URL=service.address, CONTAINERFS_API_KEY="sk-test")
    assert "<p>passed</p>" in printed


def test_outputs_of_agents(home: Home, service: LiveServer) -> None:
    printed = follow(home, GUIDES / "agents.md", {}, CONTAINERFS_URL=service.address)
    assert "x,y\n" in printed


def test_the_readme(home: Home, service: LiveServer) -> None:
    (home.path / "src").mkdir()
    (home.path / "src" / "table.csv").write_text("a,b\n")
    follow(home, DOCS.parent / "README.md", {}, CONTAINERFS_URL=service.address)
    assert (home.path / "csv" / "table.csv").read_text() == "a,b\n"
    [program] = blocks(DOCS.parent / "README.md", "python")
    environment = {"OPENAI_BASE_URL": service.address, "OPENAI_API_KEY": "sk-test"}
    assert "results cntr_" in home.run("python", "-c", program, env=environment)


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda guide: guide.stem)
def test_settings_in_guides_are_settings(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    config = tmp_path / "containerfs" / "config.toml"
    config.parent.mkdir()
    for block in blocks(guide, "toml"):
        config.write_text(block)
        load()
    config.write_text("no_such_setting = 1\n")
    with pytest.raises(SettingsError):
        load()
