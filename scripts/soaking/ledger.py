"""What may be true of a writer's files, given what it was told.

An operation that was acknowledged has happened. One that failed, or was under way when the mount died, may have. So a
ledger keeps every *world* that is possible: a file system's content as digests by path. What the service holds in the
end must be one of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

World = frozenset[tuple[str, str]]  # (path, digest); each path once
Change = Callable[[dict[str, str]], None]

_LIMIT = 4096


class TooManyWorlds(Exception):
    """More doubts than can be followed. Nothing is said about what is true."""


@dataclass(frozen=True)
class Operation:
    """What a writer did, or tried.

    Attributes:
        kind: ``write``, ``unlink``, ``rename`` or ``rename directory``.
        path: of the file, or of the directory.
        digest: of the content that was written.
        target: where it was renamed to.
    """

    kind: str
    path: str
    digest: str = ""
    target: str = ""

    def apply(self, world: World) -> World:
        files = dict(world)
        _CHANGES[self.kind](self, files)
        return frozenset(files.items())


def _write(operation: Operation, files: dict[str, str]) -> None:
    files[operation.path] = operation.digest


def _unlink(operation: Operation, files: dict[str, str]) -> None:
    files.pop(operation.path, None)


def _rename(operation: Operation, files: dict[str, str]) -> None:
    if operation.path in files:
        files[operation.target] = files.pop(operation.path)


def _rename_directory(operation: Operation, files: dict[str, str]) -> None:
    for path in [path for path in files if path.startswith(f"{operation.path}/")]:
        files[operation.target + path.removeprefix(operation.path)] = files.pop(path)


_CHANGES: dict[str, Callable[[Operation, dict[str, str]], None]] = {
    "write": _write,
    "unlink": _unlink,
    "rename": _rename,
    "rename directory": _rename_directory,
}


@dataclass
class Verdict:
    """How what the service holds differs from what it must: paths by what is wrong with them."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    def below(self, prefix: str) -> "Verdict":
        """The same, of paths with a prefix."""
        return Verdict(*([prefix + path for path in paths] for paths in (self.lost, self.doubled, self.wrong)))

    def add(self, other: "Verdict") -> None:
        self.lost += other.lost
        self.doubled += other.doubled
        self.wrong += other.wrong


@dataclass
class Ledger:
    """The worlds that are possible for one writer.

    Attributes:
        seen: the digests of all that was written, or may have been.
        acknowledged: operations.
    """

    worlds: set[World] = field(default_factory=lambda: {frozenset()})
    seen: set[str] = field(default_factory=set)
    acknowledged: int = 0

    def happened(self, operation: Operation) -> None:
        self.acknowledged += 1
        self.seen.add(operation.digest)
        self.worlds = {operation.apply(world) for world in self.worlds}

    def may_have_happened(self, operation: Operation) -> None:
        self.seen.add(operation.digest)
        self.worlds |= {operation.apply(world) for world in self.worlds}
        if len(self.worlds) > _LIMIT:
            raise TooManyWorlds

    def judge(self, held: Iterable[tuple[str, str]]) -> Verdict:
        """Compare with the files of the service, as (path, digest)."""
        files = list(held)
        paths = [path for path, _ in files]
        verdict = Verdict(doubled=sorted({path for path in paths if paths.count(path) > 1}))
        actual: World = frozenset(dict(files).items())
        if actual not in self.worlds:
            nearest = dict(min(self.worlds, key=partial(_distance, actual)))
            for path in sorted(nearest.keys() | set(paths)):
                self._judge(path, nearest.get(path), dict(files).get(path), verdict)
        return verdict

    def _judge(self, path: str, due: str | None, found: str | None, verdict: Verdict) -> None:
        if due == found:
            return
        outdated = found in self.seen or found is None
        (verdict.lost if due is not None and outdated else verdict.wrong).append(path)


def _distance(actual: World, world: World) -> tuple[int, list[tuple[str, str]]]:
    """How far a world is from what is there; of two that are equally far, always the same is the nearer one."""
    return len(world ^ actual), sorted(world)
