"""``containerfs doctor``: what it finds, and what it says to do."""

import json
from pathlib import Path
from typing import Any

from tests.cli.tool import Tool
from tests.fuse.mounted import Home
from tests.fuse.namespace import WITHOUT_FUSE, namespace


def findings(output: str) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in json.loads(output)}


def test_where_all_is_well(tool: Tool) -> None:
    found = findings(tool("doctor", "--json"))
    assert {each["state"] for each in found.values()} <= {"ok", "warning"}
    for name in ("libfuse", "/dev/fuse", "fusermount", "open files", "processes", "disk", "key", "service"):
        assert found[name]["state"] == "ok", found[name]
    assert "idempotency" in found["extensions"]["what"]
    assert "0 s " in found["clock"]["what"] or "1 s " in found["clock"]["what"] or "2 s " in found["clock"]["what"]
    lines = tool.lines("doctor")
    assert any(line.startswith("ok       service: http://") for line in lines)


def test_where_settings_come_from_and_no_secret_is_shown(tool: Tool, home: Home) -> None:
    config = home.path / ".config" / "containerfs" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('cache_size = "1G"\ndefault_headers = { "x-secret" = "hush" }\n')
    shown = tool("doctor", "--url", tool.url)
    assert f"setting cache_size: 1073741824, from {config}" in shown
    assert f"setting url: {tool.url}, from --url" in shown
    assert "setting api_key: (hidden), from OPENAI_API_KEY" in shown
    assert "sk-test" not in shown
    assert "hush" not in shown


def test_a_service_that_is_away_and_a_setting_that_is_none(tool: Tool, home: Home) -> None:
    tool.env["CONTAINERFS_PATIENCE"] = "1s"
    done = tool.attempt("doctor", "--url", "http://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert "problem  service: http://127.0.0.1:9/v1" in done.stdout
    assert "check the URL, the key, the network and the proxy" in done.stdout
    config = home.path / ".config" / "containerfs" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("cache_sice = 1\n")
    done = tool.attempt("doctor")
    assert done.returncode == 1
    assert "there is no setting cache_sice; do you mean cache_size?" in done.stdout


def test_a_machine_without_fuse(home: Home, tmp_path: Path) -> None:
    with namespace(WITHOUT_FUSE, tmp_path / "dev") as prefix:
        done = Home(home.path, prefix).attempt("containerfs", "doctor", "--local", "--data-dir", tmp_path / "store")
    assert done.returncode == 1
    assert "problem  /dev/fuse: missing: sudo modprobe fuse" in done.stdout


def test_small_limits(home: Home, tmp_path: Path) -> None:
    limited = Home(home.path, ("prlimit", "--nofile=512:512"))
    done = limited.attempt("containerfs", "doctor", "--local", "--data-dir", tmp_path / "store")
    assert done.returncode == 0
    assert "warning  open files: 512 at most: raise it" in done.stdout


def test_a_home_that_cannot_be_written(home: Home, tmp_path: Path) -> None:
    """As in a container with a read-only root. Each command says which directory it needs."""
    with namespace('mkdir "$1"; mount -t tmpfs -o ro tmpfs "$1"', tmp_path / "read-only") as prefix:
        there = Home(home.path, prefix)
        env = {"HOME": str(tmp_path / "read-only")}
        found = findings(there.attempt("containerfs", "doctor", "--local", "--json", env=env).stdout)
        assert found["disk"]["remedy"].startswith("choose another cache_dir")
        assert found["service"]["remedy"].startswith("choose another data_dir")
        for words in (["ls"], ["create", "x"], ["serve", "--port", "0"]):
            said = there.fails("containerfs", *words, *(["--local"] if words[0] != "serve" else []), env=env)
            assert said.startswith(f"containerfs {words[0]}: cannot use the data directory ")
            assert said.endswith(": Read-only file system\n")
        said = there.fails("containerfs", "mount", tmp_path / "mnt", "--local", env=env)
        assert said.startswith("containerfs mount: cache_dir: ")
        assert said.endswith(": Read-only file system\n")
        store = ("--local", "--data-dir", tmp_path / "store")
        assert there.run("containerfs", "create", "box", *store, env=env).startswith("cntr_")
