"""The compose files in deploy/, as compose reads them: their commands run, with their settings."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from containerfs.server.settings import ServerSettings
from tests.deploy.proxies import DEPLOY
from tests.server.postgres import Postgres
from tests.server.s3 import ObjectStorage
from tests.server.shell import Shell, use

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
IMAGE = dict(setting.split("=") for setting in re.findall(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)[0].split())
[ENTRYPOINT] = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
[COMMAND] = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
FILES = ("compose.yaml", "compose.scaled.yaml")


def composed(name: str, **environment: str) -> dict[str, dict[str, Any]]:
    """The services of a file, with what it takes from the environment put in."""
    required = {"POSTGRES_PASSWORD": "secret", "CONTAINERFS_BLOBS": "s3://bucket/prefix"}
    command = ["docker-compose", "-f", DEPLOY / name, "config"]
    here = {**os.environ, **required, **environment}
    done = subprocess.run(command, env=here, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    services: dict[str, dict[str, Any]] = yaml.safe_load(done.stdout)["services"]
    return services


def shell(service: dict[str, Any], directory: Path, names: dict[str, str]) -> Shell:
    """A shell with the environment of a service, in which these values are others."""
    assert service["build"]["dockerfile"] == "deploy/Dockerfile"
    environment = {key: value for key, value in {**IMAGE, **service["environment"]}.items() if value}
    environment["CONTAINERFS_DATA_DIR"] = str(directory / "data")
    return Shell(directory, **{key: names.get(value, value) for key, value in environment.items()})


def command(service: dict[str, Any]) -> str:
    return " ".join(json.loads(ENTRYPOINT) + (service.get("command") or json.loads(COMMAND)))


def key_command(name: str, service: str) -> str:
    """How the file says that a key is made."""
    [said] = re.findall(rf"run --rm {service} (keys .*)$", (DEPLOY / name).read_text(), re.MULTILINE)
    return f"containerfs {said}"


def reachable(address: str) -> str:
    assert address.startswith("http://0.0.0.0:")
    return address.replace("0.0.0.0", "127.0.0.1")


def test_one_server(tmp_path: Path) -> None:
    server = composed("compose.yaml")["server"]
    keys = str(tmp_path / "keys.json")
    here = shell(server, tmp_path, {"/data/keys.json": keys})
    key = here.run(key_command("compose.yaml", "server").replace("/data/keys.json", keys)).strip()
    with here.serving(command(server)) as address:
        use(reachable(address), key)


def test_two_servers(postgres: Postgres, object_storage: ObjectStorage, tmp_path: Path) -> None:
    bucket, store = object_storage.new_bucket(), object_storage.environment
    here = {name: store[name] for name in store if name != "AWS_ALLOW_HTTP"}
    services = composed("compose.scaled.yaml", CONTAINERFS_BLOBS=bucket, **here)
    migrate, server = services["migrate"], services["server"]
    assert server["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert migrate["environment"] == server["environment"]
    names = {"postgresql://containerfs@database/containerfs": postgres.new_database(migrated=False)}
    commands = shell(server, tmp_path, names)
    commands.run(command(migrate))
    key = commands.run(key_command("compose.scaled.yaml", "server")).strip()
    with commands.serving(command(server)) as one, commands.serving(command(server)) as another:
        use(reachable(one), key)
        use(reachable(another), key)
    assert len(object_storage.objects_in(bucket)) == 2


@pytest.mark.parametrize("name", FILES)
def test_the_proxy_reaches_the_server(name: str) -> None:
    services = composed(name)
    port = ServerSettings().port
    assert f"EXPOSE {port}" in DOCKERFILE
    [variable] = services["proxy"]["environment"]
    assert services["proxy"]["environment"][variable] == f"server:{port}"
    assert f"{{${variable}:" in (DEPLOY / "Caddyfile").read_text()
