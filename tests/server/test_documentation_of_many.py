"""What docs/SERVER.md and docs/SCALING.md say of many servers runs as it is written there, but for names."""

from pathlib import Path

import httpx
import psycopg
import pytest

from containerfs.server.storage.open import database
from containerfs.server.storage.postgres import migrate
from tests.server.conftest import LARGE, answered
from tests.server.postgres import Postgres
from tests.server.s3 import ObjectStorage
from tests.server.shell import Shell, blocks, use
from tests.server.test_upgrades import TO_VERSION_6

KEYS, METADATA, CONTENTS, UPGRADE = [block for block in blocks("SERVER.md", "bash") if "pg_" not in block]
[SETTINGS] = blocks("SERVER.md", "toml")
[ON_ONE_MACHINE] = blocks("SCALING.md", "sh")
[ON_MANY_MACHINES] = blocks("SCALING.md", "toml")

FIRST_KEY = "\"$(containerfs keys list | head -n 1 | cut -d ' ' -f 1)\""


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_database(migrated=False)


def named(text: str, names: dict[str, str]) -> str:
    """With each of the names, which must be there, replaced."""
    for name, value in names.items():
        assert name in text
        text = text.replace(name, value)
    return text


def test_metadata_and_keys_in_postgresql(url: str, tmp_path: Path) -> None:
    names = {"postgresql://containerfs@db.example/containerfs": f"'{url}'", "file:///srv": tmp_path.as_uri()}
    with Shell(tmp_path).serving(named(METADATA, names)) as address:
        use(address)
    keys = named(KEYS, {"postgresql://…": f"'{url}'", "key_…": FIRST_KEY})
    alice, reports, *listed = Shell(tmp_path).run(keys).splitlines()
    assert "read-only" in listed[1]
    assert "at most 100000 files and 53687091200 bytes" in "\n".join(listed)
    with Shell(tmp_path, CONTAINERFS_API_KEYS="database").serving(named(METADATA, names)) as address:
        use(address, alice)
        with httpx.Client(base_url=address, headers={"authorization": f"Bearer {reports}"}) as http:
            assert len(answered(http.get("/containers"))["data"]) == 1


def test_an_upgrade(url: str, tmp_path: Path) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        migrate(database(url), finish=True)
        connection.execute(TO_VERSION_6)
    assert Shell(tmp_path, CONTAINERFS_DATABASE=url).run(UPGRADE).endswith("schema version 0008\n")


def test_contents_in_a_bucket(url: str, object_storage: ObjectStorage, tmp_path: Path) -> None:
    bucket, environment = object_storage.new_bucket(), object_storage.environment
    shell = Shell(tmp_path, CONTAINERFS_DATA_DIR=str(tmp_path / "data"), CONTAINERFS_DATABASE=url, **environment)
    shell.run("containerfs migrate")
    command = named(CONTENTS, {"postgresql://…": f"'{url}'", "s3://bucket/prefix": bucket})
    with shell.serving(command) as address:
        use(address)
    assert list(object_storage.objects_in(bucket).values()) == [len(LARGE)]


def test_many_machines(url: str, object_storage: ObjectStorage, tmp_path: Path) -> None:
    bucket = object_storage.new_bucket()
    names = {
        "postgresql://containerfs@db.internal/containerfs?sslmode=verify-full": url,
        "s3://bucket/containerfs": bucket,
    }
    (tmp_path / "containerfs").mkdir()
    (tmp_path / "containerfs" / "config.toml").write_text(named(ON_MANY_MACHINES, names))
    shell = Shell(tmp_path, XDG_CONFIG_HOME=str(tmp_path), **object_storage.environment)
    shell.run("containerfs migrate")
    key = shell.run("containerfs keys add alice").strip()
    with shell.serving("containerfs serve") as one, shell.serving("containerfs serve") as another:
        use(one, key)
        use(another, key)


def test_one_machine(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    names = {"/etc/containerfs": str(tmp_path / "etc"), "/var/lib/containerfs": str(tmp_path / "store")}
    add, serve = named(ON_ONE_MACHINE, names).splitlines()
    key = Shell(tmp_path).run(add).strip()
    with Shell(tmp_path).serving(serve) as address:
        use(address, key)
    settings = named(SETTINGS, names)
    (tmp_path / "containerfs").mkdir()
    (tmp_path / "containerfs" / "config.toml").write_text(settings)
    with Shell(tmp_path, XDG_CONFIG_HOME=str(tmp_path)).serving("containerfs serve") as address:
        use(address.replace("0.0.0.0", "127.0.0.1"), key)
