"""What services do differently, met by a whole file system over real HTTP."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from containerfs.client import Client
from containerfs.fs import types
from containerfs.fs.open import open_filesystem
from containerfs.fs.options import Options
from containerfs.fs.writing import backoff
from tests.conformance import dialects
from tests.conformance.dialects import Dialect, Json, Message, Scope
from tests.fs import programs
from tests.fs.mounts import service
from tests.fs.paths import Paths
from tests.server.hosted import Clock, application, hosted, opened

LARGE = bytes(range(250)) * 5000  # 1.25 MB: more than is fetched at once


@contextmanager
def serving(dialect: type[Dialect], home: Path) -> Iterator[str]:
    with opened(home) as stores, hosted(dialect(application(stores, Clock(time.time())))) as url:
        yield url


@contextmanager
def mounted(url: str, cache_dir: Path, dialect: type[Dialect]) -> Iterator[Paths]:
    with ExitStack() as stack:
        client, single_shot = (
            stack.enter_context(Client(base_url=url, api_key="sk-test", max_retries=retries, **dialect.client))
            for retries in (2, 0)
        )
        options = Options(cache_dir, metadata_expiry=0.0, prefetch=False)
        filesystem = Paths(open_filesystem(service(client, single_shot, url, options), options))
        stack.callback(filesystem.close)
        yield filesystem


@pytest.fixture
def speaking(tmp_path: Path) -> Iterator["Speaking"]:
    """Mounts of one service that speaks a dialect; the container ``/box`` is there."""
    with ExitStack() as stack:
        yield Speaking(stack, tmp_path)


class Speaking:
    def __init__(self, stack: ExitStack, home: Path) -> None:
        self._stack, self._home = stack, home
        self._url = ""
        self._mounts = 0

    def __call__(self, dialect: type[Dialect]) -> Paths:
        """One more mount, with a cache of its own."""
        self._url = self._url or self._stack.enter_context(serving(dialect, self._home / "store"))
        self._mounts += 1
        filesystem = self._stack.enter_context(mounted(self._url, self._home / f"cache{self._mounts}", dialect))
        if self._mounts == 1:
            filesystem.mkdir("/box", 0o755)
        return filesystem

    def client(self, dialect: type[Dialect]) -> Client:
        """A program without a mount."""
        return self._stack.enter_context(Client(base_url=self._url, api_key="sk-test", **dialect.client))


TRANSPARENT = [
    Dialect,
    dialects.BytesMissing,
    dialects.KeepsDuplicates,
    dialects.StrangeIds,
    dialects.NoRanges,
    dialects.OpaqueCursors,
    dialects.NoHasMore,
    dialects.NoPages,
    dialects.Azure,
    dialects.RateLimited,
    dialects.SameIdOnUpload,
]


@pytest.mark.parametrize("dialect", TRANSPARENT)
def test_files_go_in_and_out(speaking: Speaking, dialect: type[Dialect]) -> None:
    fs = speaking(dialect)
    programs.write(fs, "/box/a", b"first")
    programs.write(fs, "/box/a", b"second, and longer")
    programs.write(fs, "/box/large", LARGE)
    programs.write(fs, "/box/empty", b"")
    programs.append(fs, "/box/a", b"; and more")
    for filesystem in (fs, speaking(dialect)):
        assert programs.names(filesystem, "/box") == ["a", "empty", "large"]
        assert filesystem.getattr("/box/large").size == len(LARGE)
        assert programs.read(filesystem, "/box/a") == b"second, and longer; and more"
        assert programs.read(filesystem, "/box/large") == LARGE
        assert programs.read(filesystem, "/box/empty") == b""
    fs.rename("/box/a", "/box/b")
    fs.unlink("/box/large")
    fs.unlink("/box/empty")
    assert programs.names(fs, "/box") == ["b"]
    assert programs.read(fs, "/box/b") == b"second, and longer; and more"
    fs.unlink("/box/b")
    fs.rmdir("/box")
    assert programs.names(fs, "/") == []


def test_a_listing_of_several_pages_is_whole(speaking: Speaking) -> None:
    fs = speaking(dialects.OpaqueCursors)
    container_id = fs.getxattr("/box", "user.containerfs.id").decode()
    client = speaking.client(dialects.OpaqueCursors)
    names = [f"{number:03}" for number in range(101)]
    for name in names:
        client.containers.files.create(container_id, file=(name, b""))
    assert programs.names(fs, "/box") == names


def test_where_paths_are_missing_ids_are_shown_and_names_asked_for_are_kept_here(speaking: Speaking) -> None:
    fs = speaking(dialects.SeedSchema)
    programs.write(fs, "/box/a.txt", b"content")
    assert programs.names(fs, "/box") == ["a.txt"]
    assert programs.read(fs, "/box/a.txt") == b"content"
    other = speaking(dialects.SeedSchema)
    (name,) = programs.names(other, "/box")
    assert other.getattr(f"/box/{name}").size == 7
    assert programs.read(other, f"/box/{name}") == b"content"
    fs.unlink("/box/a.txt")
    assert programs.names(other, "/box") == []


def test_renamed_uploads_keep_the_name_that_was_asked_for_here(speaking: Speaking) -> None:
    fs = speaking(dialects.RenamesUploads)
    programs.write(fs, "/box/a.txt", b"first")
    programs.write(fs, "/box/a.txt", b"second")
    fs.chmod("/box/a.txt", 0o600)
    assert programs.names(fs, "/box") == ["a.txt"]
    assert programs.read(fs, "/box/a.txt") == b"second"
    other = speaking(dialects.RenamesUploads)
    (name,) = programs.names(other, "/box")
    assert name.endswith("-a.txt")
    assert name != "a.txt"
    assert programs.read(other, f"/box/{name}") == b"second"


def test_a_content_that_is_always_cut_short_is_an_error_and_no_content(speaking: Speaking) -> None:
    programs.write(speaking(dialects.CutsShort), "/box/a", LARGE)
    other = speaking(dialects.CutsShort)
    with pytest.raises(types.Unreachable):
        programs.read(other, "/box/a")
    assert programs.names(other, "/box") == ["a"]


class CutsOnce(Dialect):
    """The first answer with each content ends after its first piece."""

    cuts = 0

    async def content(self, message: Message, send: Any) -> None:
        await send(message)
        if message["type"] == "http.response.body" and message.get("more_body") and not self.cuts:
            self.cuts += 1
            raise ConnectionError("cut short, once")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_content_that_is_cut_short_once_is_resumed(speaking: Speaking, ranges: bool) -> None:
    class CutsOnceWithoutRanges(CutsOnce, dialects.NoRanges):
        async def content(self, message: Message, send: Any) -> None:
            if "headers" in message:
                message["headers"] = [item for item in message["headers"] if item[0] not in self._HIDDEN]
            await CutsOnce.content(self, message, send)

    dialect = CutsOnce if ranges else CutsOnceWithoutRanges
    programs.write(speaking(dialect), "/box/a", LARGE)
    assert programs.read(speaking(dialect), "/box/a") == LARGE


def test_a_bogus_entry_is_listed_and_the_rest_works(speaking: Speaking) -> None:
    fs = speaking(dialects.BogusEntry)
    programs.write(fs, "/box/good", b"content")
    assert "good" in programs.names(fs, "/box")
    assert programs.read(fs, "/box/good") == b"content"
    (bogus,) = [name for name in programs.names(fs, "/box") if name != "good"]
    with pytest.raises(types.FsError):
        programs.read(fs, f"/box/{bogus}/mnt/data/b.txt")
    with pytest.raises(types.FsError), programs.opened(fs, f"/box/{bogus}/mnt/data/b.txt") as fh:
        programs.take(fs, fh)
    assert programs.read(fs, "/box/good") == b"content"


@pytest.mark.parametrize("dialect", [Dialect, dialects.ExpiresAs, dialects.ExpiresAsBadRequest])
def test_an_expired_container_leaves_the_listing_and_its_readers_read_on(
    speaking: Speaking, dialect: type[Dialect]
) -> None:
    fs = speaking(dialect)
    programs.write(fs, "/box/a", b"content")
    other = speaking(dialect)
    with programs.opened(other, "/box/a") as fh:
        assert programs.take(other, fh) == b"content"
        fs.unlink("/box/a")
        fs.rmdir("/box")
        assert programs.names(other, "/") == []
        assert programs.take(other, fh) == b"content"
    assert not programs.exists(other, "/box/a")


class ListsExpired(Dialect):
    """Containers that have expired stay in the listing, and say so."""

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        for found in dialects.objects(answer):
            if found.get("name") == "old":
                found["status"] = "expired"
        return status, answer


def test_containers_that_say_they_have_expired_are_not_shown(speaking: Speaking) -> None:
    fs = speaking(ListsExpired)
    fs.mkdir("/old", 0o755)
    container_id = fs.getxattr("/old", "user.containerfs.id").decode()
    other = speaking(ListsExpired)
    assert programs.names(other, "/") == ["box"]
    assert not programs.exists(other, f"/{container_id}")


@pytest.fixture
def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 3600.0)


def test_a_refused_type_fails_close_and_loses_nothing(speaking: Speaking, never_again: None) -> None:
    fs = speaking(dialects.RefusesTypes)
    with pytest.raises(types.Refused, match="Invalid file type"):
        programs.write(fs, "/box/a.svg", b"<svg/>")
    assert programs.read(fs, "/box/a.svg") == b"<svg/>"
    assert programs.state(fs, "/box/a.svg") == "failed"
    status = fs.getxattr("/", "user.containerfs.status").decode()
    assert "box/a.svg" in status
    assert "Invalid file type" in status
    programs.write(fs, "/box/a.txt", b"text")
    fs.unlink("/box/a.svg")
    assert programs.names(fs, "/box") == ["a.txt"]
    assert fs.drain(30) == []


class LosesAnswers(Dialect):
    """The answer to every other upload breaks off."""

    uploads = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        uploads = scope["method"] == "POST" and scope["path"].endswith("/files")
        self.uploads += uploads
        await super().__call__(scope, receive, self._losing(send) if uploads and self.uploads % 2 else send)

    def _losing(self, send: Any) -> Any:
        async def lose(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({"type": "http.response.body", "body": b"{", "more_body": True})
                raise ConnectionError("lost")
            await send(message)

        return lose


class AnswersFromAProxy(LosesAnswers):
    """What was stored is answered with a 500, which is a proxy's."""

    def _losing(self, send: Any) -> Any:
        async def lose(message: Message) -> None:
            raise ConnectionError("lost")

        return lose


def _without_keys(scope: Scope) -> Scope:
    """The service knows nothing of idempotency keys."""
    return {**scope, "headers": [item for item in scope["headers"] if item[0] != b"idempotency-key"]}


class LosesAnswersAndKeys(LosesAnswers):
    advertises = False

    def _asked(self, scope: Scope, body: bytes) -> Scope:
        return _without_keys(super()._asked(scope, body))


class AnswersFromAProxyAndKeepsDuplicates(AnswersFromAProxy, dialects.KeepsDuplicates):
    def _asked(self, scope: Scope, body: bytes) -> Scope:
        return _without_keys(super()._asked(scope, body))


@pytest.mark.parametrize(
    "dialect", [LosesAnswers, LosesAnswersAndKeys, AnswersFromAProxy, AnswersFromAProxyAndKeepsDuplicates]
)
def test_an_upload_whose_answer_is_lost_is_stored_once(speaking: Speaking, dialect: type[Dialect]) -> None:
    fs = speaking(dialect)
    programs.write(fs, "/box/a", b"content")
    programs.write(fs, "/box/b", b"other")
    programs.write(fs, "/box/a", b"newer content")
    for filesystem in (fs, speaking(dialect)):
        assert programs.names(filesystem, "/box") == ["a", "b"]
        assert programs.read(filesystem, "/box/a") == b"newer content"


class StoresLess(Dialect):
    """Says that it stored one byte less than it was sent."""

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        if scope["method"] == "POST" and scope["path"].endswith("/files"):
            answer["bytes"] -= 1
        return status, answer


def test_what_is_not_stored_whole_is_not_kept(speaking: Speaking, never_again: None) -> None:
    fs = speaking(StoresLess)
    with pytest.raises(types.Failed, match="stored 6 of 7 bytes"):
        programs.write(fs, "/box/a", b"content")
    assert programs.read(fs, "/box/a") == b"content"
    assert programs.names(speaking(StoresLess), "/box") == []


class NoHead(dialects.BytesMissing):
    """Sizes are not listed, and HEAD is not allowed."""

    heads = 0

    def refuse(self, scope: Scope, body: bytes) -> tuple[int, Json] | None:
        if scope["method"] == "HEAD":
            NoHead.heads += 1
            return 405, {"error": {"message": "no"}}
        return None


def test_sizes_are_learned_without_head(speaking: Speaking) -> None:
    fs = speaking(NoHead)
    for name in "abc":
        programs.write(fs, f"/box/{name}", b"content")
    NoHead.heads = 0
    other = speaking(NoHead)
    assert [other.getattr(f"/box/{name}").size for name in "abc"] == [7, 7, 7]
    assert NoHead.heads == 1


class Refuses(Dialect):
    """Every request is answered with one status."""

    status = 0

    def refuse(self, scope: Scope, body: bytes) -> tuple[int, Json] | None:
        return (self.status, {"error": {"message": "refused"}}) if self.status else None


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, types.AccessDenied), (403, types.AccessDenied), (404, types.NotFound), (410, types.NotFound),
     (413, types.TooLarge), (507, types.NoSpace), (400, types.Refused), (500, types.AnswerLost)],
)  # fmt: skip
def test_statuses_are_errors_of_the_file_system(
    speaking: Speaking, status: int, error: type[types.FsError], never_again: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = speaking(Refuses)
    fh = fs.create("/box/a", 1, 0o644)
    monkeypatch.setattr(Refuses, "status", status)
    with pytest.raises(error):
        fs.flush(fh)
    fs.release(fh)
