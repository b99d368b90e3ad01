"""The service has done it and the answer is lost: what was sent is there once, whatever is done to the file next."""

import os

import pytest

from tests.faults.conftest import shown
from tests.faults.faults import (
    AFTER_COMMIT,
    ALWAYS,
    BEFORE_COMMIT,
    anything,
    deletion,
    look,
    loses_answer,
    refuses,
    stores_cut_body,
    upload_of,
)
from tests.faults.manners import Late
from tests.faults.mounting import WRITE_BACK, agrees, mounted, settled, stays, write
from tests.faults.service import Service
from tests.fuse.mounted import Home, errno_of
from tests.server.live import LiveServer

OLD, NEW, LONGER = b"AAAA" * 1000, b"BBBB" * 1000, b"CCCC" * 1500


def test_stored_once_whatever_becomes_of_the_answer(every_service: Service, home: Home, box: str) -> None:
    """Each kind of a lost answer, to a new file and to one that is overwritten."""
    wanted = {}
    with mounted(every_service, home) as mount:
        (mount / box).mkdir()
        for number, fault in enumerate(AFTER_COMMIT.values()):
            name = f"file {number}"
            for content in (OLD, NEW):
                every_service.proxy.on(upload_of(name), fault)
                if write(mount / box / name, content) is None:
                    assert (name, content) in every_service.holds(box)
                settled(mount)
            wanted[name] = NEW
        agrees(mount, every_service, box, wanted)
    stays(every_service, home, box, wanted)


def test_stored_once_though_the_clocks_differ(server: LiveServer, home: Home, box: str) -> None:
    with shown(server, Late) as service, mounted(service, home) as mount:
        (mount / box).mkdir()
        service.proxy.on(upload_of("file"), loses_answer)
        write(mount / box / "file", OLD)
        service.proxy.on(upload_of("deleted"), loses_answer, times=ALWAYS)
        write(mount / box / "deleted", OLD)
        (mount / box / "deleted").unlink()
        agrees(mount, service, box, {"file": OLD})


def test_stored_once_after_failures_that_stored_nothing(any_service: Service, home: Home, box: str) -> None:
    wanted = {}
    with mounted(any_service, home) as mount:
        (mount / box).mkdir()
        for number, fault in enumerate(BEFORE_COMMIT.values()):
            name = f"file {number}"
            any_service.proxy.on(upload_of(name), fault)
            if write(mount / box / name, OLD * 10) is None:
                assert (name, OLD * 10) in any_service.holds(box)
            settled(mount)
            wanted[name] = OLD * 10
        agrees(mount, any_service, box, wanted)


def test_new_content_of_the_same_size_after_a_lost_answer(every_service: Service, home: Home, box: str) -> None:
    with mounted(every_service, home) as mount:
        (mount / box).mkdir()
        lost = every_service.proxy.on(upload_of("file"), loses_answer)
        silent = every_service.proxy.on(look, refuses(503), times=ALWAYS)
        write(mount / box / "file", OLD)
        assert lost.met
        silent.stop()
        if write(mount / box / "file", NEW) is None:
            assert ("file", NEW) in every_service.holds(box)
        agrees(mount, every_service, box, {"file": NEW})
    stays(every_service, home, box, {"file": NEW})


def test_new_content_after_several_lost_answers(any_service: Service, home: Home, box: str) -> None:
    """Three versions, two of one size, of which none is known to have arrived; the last one stays."""
    with mounted(any_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        for content in (OLD, NEW, LONGER):
            lost = any_service.proxy.on(upload_of("file"), loses_answer)
            assert write(mount / box / "file", content) is None
            lost.reached()
        agrees(mount, any_service, box, {"file": LONGER})
    stays(any_service, home, box, {"file": LONGER})


def test_a_cut_body_that_the_service_took_for_a_file(foreign_service: Service, home: Home, box: str) -> None:
    with mounted(foreign_service, home) as mount:
        (mount / box).mkdir()
        foreign_service.proxy.on(upload_of("file"), stores_cut_body)
        write(mount / box / "file", OLD)
        agrees(mount, foreign_service, box, {"file": OLD})
    stays(foreign_service, home, box, {"file": OLD})


@pytest.mark.parametrize("killed", ["not killed", "killed before rm", "killed after rm"])
def test_deleted_after_a_lost_answer(any_service: Service, home: Home, box: str, killed: str) -> None:
    with mounted(any_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        (mount / box / "other").write_bytes(OLD)
        settled(mount)
        lost = any_service.proxy.on(upload_of("file"), loses_answer)
        down = any_service.proxy.on(
            lambda exchange: bool(lost.met) and exchange.name != "other", refuses(503), times=ALWAYS
        )
        assert write(mount / box / "file", NEW) is None
        lost.reached()
        if killed != "killed before rm":
            if errno_of((mount / box / "file").unlink) is not None:
                down.stop()
                (mount / box / "file").unlink()
            assert not (mount / box / "file").exists()
        if killed != "not killed":
            mount.kill()
        else:
            agrees(mount, any_service, box, {"other": OLD})
    any_service.proxy.mend()
    with mounted(any_service, home) as mount:
        if killed == "killed before rm":
            (mount / box / "file").unlink()
        assert not (mount / box / "file").exists()
        agrees(mount, any_service, box, {"other": OLD})


def test_made_anew_after_a_lost_answer_and_rm(any_service: Service, home: Home, box: str) -> None:
    wanted = {"same size": NEW, "another size": LONGER}
    with mounted(any_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        for name, content in wanted.items():
            lost = any_service.proxy.on(upload_of(name), loses_answer)
            assert write(mount / box / name, OLD) is None
            lost.reached()
            (mount / box / name).unlink()
            assert write(mount / box / name, content) is None
        agrees(mount, any_service, box, wanted)
    stays(any_service, home, box, wanted)


def test_renamed_after_a_lost_answer(any_service: Service, home: Home, box: str) -> None:
    with mounted(any_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        lost = any_service.proxy.on(upload_of("old name"), loses_answer)
        assert write(mount / box / "old name", OLD) is None
        lost.reached()
        (mount / box / "old name").rename(mount / box / "new name")
        agrees(mount, any_service, box, {"new name": OLD})
    stays(any_service, home, box, {"new name": OLD})


def test_the_answer_to_a_deletion_is_lost(any_service: Service, home: Home, box: str) -> None:
    with mounted(any_service, home) as mount:
        (mount / box).mkdir()
        (mount / box / "file").write_bytes(OLD)
        any_service.proxy.on(deletion, loses_answer)
        errno_of((mount / box / "file").unlink)
        agrees(mount, any_service, box, {})


def test_what_others_store_meanwhile_is_not_taken_for_ours(any_service: Service, home: Home, box: str) -> None:
    """A second mount stores another content of the same name and size while the first one's answer is lost."""
    proxy = any_service.proxy
    second = Home(home.path / "second")
    with mounted(any_service, home, WRITE_BACK) as mount, mounted(any_service, second) as other:
        (mount / box).mkdir()
        request_lost = proxy.on(upload_of("file"), refuses(503), times=ALWAYS)
        assert write(mount / box / "file", OLD) is None
        request_lost.reached()
        os.setxattr(other.path, "user.containerfs.refresh", b"")
        held = proxy.gate()
        proxy.on(upload_of("file"), held.before())
        request_lost.stop()
        os.setxattr(mount.path, "user.containerfs.sync", b"")
        held.reached()
        assert write(other / box / "file", NEW) is None
        held.open()
        settled(mount)
        proxy.mend()
        assert ("file", OLD) in any_service.holds(box)


def test_nothing_is_sent_twice_to_a_service_that_is_down(service: Service, home: Home, box: str) -> None:
    with mounted(service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        gone = service.proxy.on(anything, refuses(502), times=6)
        assert write(mount / box / "file", OLD) is None
        gone.reached()
        agrees(mount, service, box, {"file": OLD})
        assert sum(1 for exchange in service.proxy.uploads("file") if exchange.committed) == 1
