"""Listings: believed until they expire, asked for once by all who wait, and shown on while the service is silent."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.namespace import listings
from tests.fs import programs
from tests.fs.gates import Gate, down, failing
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import mounted
from tests.fs.paths import Paths


class Clock:
    """A monotonic clock that goes when it is told to; what it calls ``time`` otherwise is the real module's."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock.monotonic)
    return clock


@pytest.fixture
def patient_fs(remote: MemoryRemote, container: str, clock: Clock, tmp_path: Path) -> Iterator[Paths]:
    """A file system that believes listings for ten seconds."""
    remote.put(container, "a", b"content")
    with mounted(remote, tmp_path / "patient", metadata_expiry=10.0) as filesystem:
        yield filesystem


def containers_listed(remote: MemoryRemote) -> int:
    """How often the containers were listed; the check of the service does so too."""
    return len(remote.asked("check")) + len(remote.asked("containers"))


def listed(remote: MemoryRemote) -> int:
    return len(remote.asked("files"))


def test_looking_costs_one_listing_until_it_expires(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock, container: str
) -> None:
    for _ in range(3):
        assert programs.names(patient_fs, "/box") == ["a"]
        assert programs.read(patient_fs, "/box/a") == b"content"
        assert not programs.exists(patient_fs, "/box/b")
    assert listed(remote) == 1
    remote.put(container, "b", b"")
    clock.now += 9.9
    assert not programs.exists(patient_fs, "/box/b")
    clock.now += 0.2
    assert programs.exists(patient_fs, "/box/b")
    assert listed(remote) == 2


def test_the_containers_are_listed_once_and_again_when_that_has_expired(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock
) -> None:
    for _ in range(3):
        assert programs.names(patient_fs, "/") == ["box"]
    assert containers_listed(remote) == 1
    clock.now += 10.1
    remote.made("other")
    assert programs.names(patient_fs, "/") == ["box", "other"]
    assert containers_listed(remote) == 2


def test_a_listing_that_takes_longer_than_it_is_believed_is_believed_from_when_it_came(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock
) -> None:
    def slowly(operation: str, subject: str) -> None:
        clock.now += 60

    remote.before = slowly
    for _ in range(3):
        assert programs.names(patient_fs, "/box") == ["a"]
        assert programs.exists(patient_fs, "/box/a")
        clock.now += 3
    assert (containers_listed(remote), listed(remote)) == (1, 1)


@pytest.mark.parametrize(("containers", "listings", "others"), [(5, 1, 5), (30, 2, 9), (1000, 2, 0), (1500, 2, 5)])
def test_many_containers_are_asked_about_together(
    remote: MemoryRemote, clock: Clock, tmp_path: Path, containers: int, listings: int, others: int
) -> None:
    for number in range(containers):
        remote.made(f"{number}")
    with mounted(remote, tmp_path / "cache", metadata_expiry=10.0) as fs:
        programs.names(fs, "/")
        clock.now += 10.1
        for number in range(containers):
            assert programs.exists(fs, f"/{number}")
    assert (containers_listed(remote), listed(remote)) == (listings, others)


def test_a_listing_of_its_files_vouches_for_a_container(patient_fs: Paths, remote: MemoryRemote, clock: Clock) -> None:
    clock.now += 10.1
    assert programs.exists(patient_fs, "/box/a")
    assert (containers_listed(remote), listed(remote)) == (1, 1)


def test_refresh_asks_at_once(patient_fs: Paths, remote: MemoryRemote, container: str) -> None:
    assert programs.names(patient_fs, "/box") == ["a"]
    remote.put(container, "b", b"")
    remote.made("other")
    patient_fs.setxattr("/box/a", "user.containerfs.refresh", b"")
    patient_fs.setxattr("/", "user.containerfs.refresh", b"")
    assert programs.names(patient_fs, "/box") == ["a", "b"]
    assert programs.names(patient_fs, "/") == ["box", "other"]


def test_one_listing_serves_all_who_wait(patient_fs: Paths, remote: MemoryRemote) -> None:
    gate = Gate("files")
    remote.before = gate
    with ThreadPoolExecutor(8) as programs_:
        results = [programs_.submit(programs.exists, patient_fs, "/box/a") for _ in range(8)]
        gate.wait()
        gate.open()
        assert all(result.result(30) for result in results)
    assert listed(remote) == 1


def test_all_who_wait_for_a_listing_learn_why_it_failed(patient_fs: Paths, remote: MemoryRemote) -> None:
    gate = Gate("files")

    def refuse(operation: str, subject: str) -> None:
        gate(operation, subject)
        if operation == "files":
            raise types.Failed("no")

    remote.before = refuse
    with ThreadPoolExecutor(4) as programs_:
        results = [programs_.submit(patient_fs.getattr, "/box/a") for _ in range(4)]
        gate.wait()
        gate.open()
        for result in results:
            with pytest.raises(types.Failed):
                result.result(30)


def test_while_the_service_is_silent_what_was_listed_last_is_shown(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    programs.read(patient_fs, "/box/a")
    clock.now += 100
    remote.before = down
    assert programs.names(patient_fs, "/") == ["box"]
    assert programs.names(patient_fs, "/box") == ["a"]
    assert programs.read(patient_fs, "/box/a") == b"content"
    assert not programs.exists(patient_fs, "/box/b")
    assert "Showing the last listing" in caplog.text


def test_what_was_never_listed_cannot_be_shown(patient_fs: Paths, remote: MemoryRemote) -> None:
    remote.before = down
    with pytest.raises(types.Unreachable):
        programs.names(patient_fs, "/box")
    remote.before = no_fault
    assert programs.names(patient_fs, "/box") == ["a"]


def test_a_mount_without_a_service_is_refused(remote: MemoryRemote, tmp_path: Path) -> None:
    remote.before = down
    with pytest.raises(types.Unreachable), mounted(remote, tmp_path / "other"):
        pass


def test_a_container_that_has_gone_leaves_the_root(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock, container: str
) -> None:
    assert programs.exists(patient_fs, "/box/a")
    remote.expire(container)
    clock.now += 10.1
    assert not programs.exists(patient_fs, "/box/a")
    assert programs.names(patient_fs, "/") == []


def test_who_reads_in_a_container_that_has_gone_reads_on(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock, container: str
) -> None:
    with programs.opened(patient_fs, "/box/a") as fh:
        assert programs.take(patient_fs, fh) == b"content"
        remote.expire(container)
        clock.now += 10.1
        assert programs.names(patient_fs, "/") == []
        assert programs.take(patient_fs, fh) == b"content"
        assert patient_fs.fgetattr(fh).size == patient_fs.getattr(f"/{container}/a").size == 7
    clock.now += 10.1
    assert not programs.exists(patient_fs, f"/{container}/a")
    assert programs.read(patient_fs, "/.expired/box/a") == b"content"


def test_a_container_that_is_made_again_has_the_name_and_the_one_that_has_gone_its_id(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock, container: str
) -> None:
    with programs.opened(patient_fs, "/box/a") as fh:
        assert programs.take(patient_fs, fh) == b"content"
        remote.expire(container)
        clock.now += 10.1
        assert not programs.exists(patient_fs, "/box"), "the name is free"
        patient_fs.mkdir("/box", 0o755)
        assert programs.names(patient_fs, "/") == ["box"]
        programs.write(patient_fs, "/box/a", b"new")
        assert programs.take(patient_fs, fh) == b"content"
        assert programs.read(patient_fs, f"/{container}/a") == b"content"
    assert not programs.exists(patient_fs, f"/{container}/a")
    assert programs.read(patient_fs, "/box/a") == b"new"


def test_a_listing_that_was_begun_before_is_not_believed(
    patient_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    gate = Gate("files")
    remote.after = gate
    with ThreadPoolExecutor(1) as ls:
        listing = ls.submit(programs.names, patient_fs, "/box")
        gate.wait()
        remote.after = no_fault
        remote.put(container, "b", b"")
        patient_fs.setxattr("/box", "user.containerfs.refresh", b"")
        assert programs.names(patient_fs, "/box") == ["a", "b"]
        gate.open()
        listing.result()
    assert programs.names(patient_fs, "/box") == ["a", "b"]


def test_a_container_that_another_machine_has_filled_during_a_listing_is_not_removed(
    patient_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.take_away(next(iter(remote.contents)))
    gate = Gate("files")
    remote.after = gate
    with ThreadPoolExecutor(1) as ls:
        listing = ls.submit(programs.names, patient_fs, "/box")
        gate.wait()
        remote.after = no_fault
        remote.put(container, "b", b"content")
        with pytest.raises(types.DirectoryNotEmpty):
            patient_fs.rmdir("/box")
        gate.open()
        listing.result()
    assert remote.stored(container) == {"b": b"content"}


def test_a_container_that_another_machine_has_made_exists(patient_fs: Paths, remote: MemoryRemote) -> None:
    assert not programs.exists(patient_fs, "/other")
    remote.made("other")
    with pytest.raises(types.AlreadyExists):
        patient_fs.mkdir("/other", 0o755)
    assert remote.asked("create") == []


def test_a_container_whose_making_is_answered_by_nothing_is_made_once(patient_fs: Paths, remote: MemoryRemote) -> None:
    remote.after = failing("create", kind=types.Unreachable)
    patient_fs.mkdir("/other", 0o755)
    assert programs.names(patient_fs, "/") == ["box", "other"]
    remote.before = failing("create", kind=types.Unreachable)
    with pytest.raises(types.Unreachable):
        patient_fs.mkdir("/another", 0o755)
    assert sorted(container.name for container in remote.containers()) == ["box", "other"]


def test_what_was_set_for_a_container_holds_before_its_files_are_listed(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    with mounted(remote, tmp_path / "cache") as filesystem:
        filesystem.chmod("/box", 0o700)
        filesystem.chown("/box", 5, 6)
    with mounted(remote, tmp_path / "cache", metadata_expiry=3600.0) as filesystem:
        attr = filesystem.getattr("/box")
        assert (attr.mode & 0o777, attr.uid, attr.gid) == (0o700, 5, 6)
        assert len(remote.asked("files")) == 2, "of the first mount"


def test_a_file_is_made_where_a_directory_is_known_without_asking(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock
) -> None:
    programs.names(patient_fs, "/box")
    with patient_fs.parent("/box/.b.swp") as (box, name):
        clock.now += 100
        remote.before = down
        node, fh = patient_fs.filesystem.create(box, name, 2, 0o644)
        patient_fs.release(fh)
        patient_fs.forget(node)
    assert listed(remote) == 1


def test_a_directory_that_is_read_again_shows_what_is_there_by_then(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock, container: str
) -> None:
    fh = patient_fs.opendir("/box")
    assert programs.entries(patient_fs, fh) == ["a"]
    programs.write(patient_fs, "/box/b", b"")
    remote.put(container, "c", b"")
    clock.now += 10.1
    patient_fs.rewinddir(fh)
    assert sorted(programs.entries(patient_fs, fh)) == ["a", "b", "c"]
    patient_fs.releasedir(fh)


def test_a_thousand_levels_that_were_deleted_elsewhere_go(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock, container: str
) -> None:
    deep = remote.put(container, "d/" * 1200 + "file", b"")
    assert programs.names(patient_fs, "/box") == ["a", "d"]
    remote.take_away(deep)
    clock.now += 10.1
    assert programs.names(patient_fs, "/box") == ["a"]


def test_a_container_that_no_listing_has_is_found_by_its_id(
    patient_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "containers", list)
    patient_fs.setxattr("/", "user.containerfs.refresh", b"")
    assert programs.names(patient_fs, "/") == []
    assert programs.read(patient_fs, f"/{container}/a") == b"content"
    assert programs.names(patient_fs, "/") == []


@pytest.mark.parametrize("kind", [types.NotFound, types.Failed])
def test_an_id_that_no_container_has_is_asked_for_once(
    patient_fs: Paths, remote: MemoryRemote, kind: type[types.FsError]
) -> None:
    remote.before = failing("container", kind=kind)
    for _ in range(3):
        assert not programs.exists(patient_fs, "/cntr_0123456789abcdef")
    assert len(remote.asked("container")) == 1


@pytest.mark.parametrize("name", ["short", ".hidden-but-long-enough-to-be-an-id", "a name of several long words"])
def test_names_that_are_no_ids_are_not_asked_for(patient_fs: Paths, remote: MemoryRemote, name: str) -> None:
    assert not programs.exists(patient_fs, f"/{name}")
    assert remote.asked("container") == []


def test_scratch_names_are_looked_up_nowhere(patient_fs: Paths, remote: MemoryRemote, clock: Clock) -> None:
    programs.names(patient_fs, "/box")
    clock.now += 5
    before = listed(remote)
    assert not programs.exists(patient_fs, "/box/.a.swp")
    assert listed(remote) == before


def test_containers_looked_at_longest_ago_are_forgotten_first(
    remote: MemoryRemote, container: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "_MOST_FILES", 3)
    others = [remote.made(f"other{number}") for number in range(2)]
    for box in (container, *others):
        for name in ("a", "b"):
            remote.put(box, name, b"content")
    with mounted(remote, tmp_path / "small", metadata_expiry=3600.0) as filesystem:
        with programs.opened(filesystem, "/box/a"):
            for path in ("/other0", "/other1", "/box", "/other0"):
                assert programs.names(filesystem, path) == ["a", "b"]
        asked = remote.asked("files")
        assert asked == [container, others[0], others[1], others[0]], "who has files open is not forgotten"


def test_a_change_here_is_seen_at_once_and_asks_nobody(patient_fs: Paths, remote: MemoryRemote) -> None:
    programs.write(patient_fs, "/box/b", b"new")
    patient_fs.mkdir("/box/d", 0o755)
    patient_fs.unlink("/box/a")
    assert programs.names(patient_fs, "/box") == ["b", "d"]
    assert listed(remote) == 1


def test_a_container_that_was_said_to_have_ended_by_mistake_is_back(
    patient_fs: Paths, remote: MemoryRemote, clock: Clock, container: str
) -> None:
    """What is cached stays readable, and what was shown below ``.expired`` is the container again."""
    assert programs.read(patient_fs, "/box/a") == b"content"
    remote.expire(container)
    clock.now += 10.1
    assert programs.names(patient_fs, "/") == [".expired"]
    assert programs.read(patient_fs, "/.expired/box/a") == b"content"
    remote.revive(container)
    clock.now += 10.1
    assert programs.names(patient_fs, "/") == ["box"]
    programs.write(patient_fs, "/box/b", b"new")
    assert programs.names(patient_fs, "/box") == ["a", "b"]
    assert not programs.exists(patient_fs, "/.expired")


@pytest.mark.parametrize("opened", [False, True])
def test_one_container_as_the_root_is_back_once_the_service_says_so(
    remote: MemoryRemote, container: str, clock: Clock, tmp_path: Path, opened: bool
) -> None:
    remote.put(container, "a", b"content")
    with mounted(remote, tmp_path / "one", metadata_expiry=10.0, container="box") as one, ExitStack() as stack:
        if opened:
            stack.enter_context(programs.opened(one, "/a"))
        clock.now += 10.1
        remote.expire(container)
        with pytest.raises((types.NotFound, types.Gone)):
            programs.names(one, "/")
        with pytest.raises((types.NotFound, types.Gone, types.ReadOnly)):
            programs.write(one, "/b", b"new")
        remote.revive(container)
        clock.now += 10.1
        assert programs.names(one, "/") == ["a"]
        programs.write(one, "/b", b"new")
    assert remote.stored(container) == {"a": b"content", "b": b"new"}


def test_one_wrong_answer_about_the_container_that_is_the_root_does_no_harm(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.put(container, "a", b"content")
    with mounted(remote, tmp_path / "one", container="box") as one:
        answers = iter([types.NotFound("by mistake")])

        def mistaken(operation: str, _: str) -> None:
            if operation == "files":
                for error in answers:
                    raise error

        remote.before = mistaken
        with suppress(types.NotFound):
            programs.names(one, "/")
        assert next(answers, None) is None, "it was asked"
        assert programs.names(one, "/") == ["a"]
        programs.write(one, "/b", b"new")
