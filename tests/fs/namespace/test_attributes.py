"""The local attributes: kept by service, container and key; a damaged store is no reason not to mount."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from containerfs.fs.namespace import attributes
from containerfs.fs.namespace.attributes import Attributes, AttributeStore, directory_key, file_key

SET = Attributes(mode=0o600, uid=1, gid=2, atime=3, mtime=4, path="a/b", size=5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AttributeStore]:
    store = AttributeStore(tmp_path / "new" / "attributes.db", "service")
    yield store
    store.close()


def test_what_is_saved_is_loaded_by_another_mount(store: AttributeStore, tmp_path: Path) -> None:
    store.save("box", file_key("1"), SET)
    store.save("box", directory_key("a"), Attributes(mode=0o700))
    store.save("other", file_key("1"), Attributes())
    other = AttributeStore(tmp_path / "new" / "attributes.db", "service")
    assert other.load("box") == {file_key("1"): SET, directory_key("a"): Attributes(mode=0o700)}
    other.close()


def test_what_the_service_has_got_is_not_sent_again(store: AttributeStore) -> None:
    store.save("box", file_key("1"), SET)
    store.save("box", directory_key("a"), SET)
    for key in (file_key("1"), directory_key("a")):
        store.note_sent("box", key, SET)
    assert store.load("box") == {file_key("1"): replace(SET, sent=True)}
    assert store.unsent() == []


@pytest.mark.parametrize("key", [file_key("1"), directory_key("a")])
def test_what_another_mount_sets_while_that_is_noted_stays(store: AttributeStore, tmp_path: Path, key: str) -> None:
    other = AttributeStore(tmp_path / "new" / "attributes.db", "service")
    later = replace(SET, mode=0o640)

    def set_elsewhere(statement: str) -> None:
        if not statement.startswith(("SELECT", "BEGIN")):
            store._db.set_trace_callback(None)
            other.save("box", key, later)

    store.save("box", key, SET)
    store._db.set_trace_callback(set_elsewhere)
    store.note_sent("box", key, SET)
    assert store.load("box") == {key: later}
    other.close()


def test_services_are_apart(store: AttributeStore, tmp_path: Path) -> None:
    store.save("box", file_key("1"), SET)
    other = AttributeStore(tmp_path / "new" / "attributes.db", "another service")
    assert other.load("box") == {}
    other.forget_container("box")
    assert store.load("box") == {file_key("1"): SET}
    other.close()


def test_saving_again_replaces_and_forgetting_removes(store: AttributeStore) -> None:
    for key in ("1", "2", "3"):
        store.save("box", file_key(key), SET)
    store.save("box", file_key("1"), Attributes(mode=0o400))
    store.forget("box", [file_key("2"), file_key("unknown")])
    assert store.load("box") == {file_key("1"): Attributes(mode=0o400), file_key("3"): SET}
    store.forget_container("box")
    assert store.load("box") == {}


def test_a_damaged_store_is_started_afresh_and_kept_beside_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "attributes.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    store = AttributeStore(path, "service")
    store.save("box", file_key("1"), SET)
    assert store.load("box") == {file_key("1"): SET}
    assert path.with_name("attributes.db.damaged").read_bytes().startswith(b"not a database")
    assert "is damaged" in caplog.text
    store.close()


def test_a_store_that_another_mount_has_locked_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "attributes.db"
    AttributeStore(path, "service").close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout, **more: connect(path, timeout=0, **more))
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        AttributeStore(path, "service")
    assert not path.with_name("attributes.db.damaged").exists()
    other.close()


def test_containers_have_attributes_too(store: AttributeStore) -> None:
    store.save("box", directory_key(""), SET)
    store.save("box", file_key("1"), SET)
    assert store.load_containers() == {"box": SET}


def test_attributes_that_cannot_be_kept_fail_nothing(store: AttributeStore, caplog: pytest.LogCaptureFixture) -> None:
    store.close()
    store.save("box", file_key("1"), SET)
    assert store.load("box") == {}
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def _timers_ended() -> None:
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(30)


def test_what_is_to_be_saved_soon_is_loaded_at_once_here_and_soon_by_another_mount(
    store: AttributeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attributes, "_SOON", 0.0)
    other = AttributeStore(tmp_path / "new" / "attributes.db", "service")
    for number in range(3):
        store.save_soon("box", file_key(f"cfile_{number}"), Attributes(atime=number))
    _timers_ended()
    assert len(other.load("box")) == 3
    monkeypatch.setattr(attributes, "_SOON", 1e6)
    store.save_soon("box", file_key("cfile_0"), Attributes(atime=7))
    assert store.load("box")[file_key("cfile_0")] == Attributes(atime=7)
    other.close()


def test_what_is_to_be_saved_soon_is_saved_before_the_end(store: AttributeStore, tmp_path: Path) -> None:
    store.save_soon("box", file_key("cfile_1"), Attributes(atime=1))
    store.close()
    other = AttributeStore(tmp_path / "new" / "attributes.db", "service")
    assert other.load("box") == {file_key("cfile_1"): Attributes(atime=1)}
    other.close()


def test_a_timer_that_is_due_just_at_the_end_says_nothing(
    store: AttributeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.save_soon("box", file_key("cfile_1"), Attributes(atime=1))
    timer = store._timer
    assert timer is not None
    store.close()
    timer.function()
    store.save_soon("box", file_key("cfile_1"), Attributes(atime=2))
    assert store._timer is None
    assert caplog.records == []


def test_what_was_to_be_saved_soon_replaces_nothing_later(store: AttributeStore) -> None:
    store.save_soon("box", file_key("cfile_1"), Attributes(atime=1))
    store.save("box", file_key("cfile_1"), Attributes(mode=0o600))
    store.save_soon("box", file_key("cfile_2"), Attributes(atime=1))
    store.forget("box", [file_key("cfile_2")])
    assert store.load("box") == {file_key("cfile_1"): Attributes(mode=0o600)}
