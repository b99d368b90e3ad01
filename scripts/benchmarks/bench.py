"""What the sections measure with: sizes, a directory to work in, servers, and the contestants over them."""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chart import Bars
from benchmarks.processes import Program, containerfs
from benchmarks.report import BEFORE, Row, Samples, comparison
from benchmarks.targets import Containerfs, ContainerServer, LocalDisk, Rclone, RcloneServer, Store, Target

MiB = 1 << 20
_SERVED = ("store", "served", "local")  # the directories of the servers, and of the floor


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Attributes:
        large: bytes of the large file.
        small_files: how many of 4 KiB.
        names: in one directory.
        many: as many as are meant to work: names in one directory, and contents in the cache.
        most: names in one directory, more than are meant to be comfortable.
        containers: beside each other.
        patience: seconds, with a service that is silent; of the quick run it is not the default.
        far: bytes of a file that is read here and there, and by many.
        walk: directories that are walked through.
        deleted: files, at a time.
        growing_names, growing_sizes, growing_readers, growing_mounts: what is measured at each of these.
        starts: of a mount.
        repetitions: of everything else that is timed.
    """

    large: int = 1024 * MiB
    small_files: int = 500
    names: int = 10_000
    many: int = 100_000
    most: int = 1_000_000
    containers: int = 1_000
    patience: float = 13.0
    far: int = 256 * MiB
    walk: int = 100
    deleted: int = 300
    growing_names: tuple[int, ...] = (1_000, 10_000, 100_000)
    growing_sizes: tuple[int, ...] = (MiB, 16 * MiB, 256 * MiB, 1024 * MiB, 10_240 * MiB)
    growing_readers: tuple[int, ...] = (1, 4, 16, 64)
    growing_mounts: tuple[int, ...] = (1, 8, 32)
    starts: int = 5
    repetitions: int = 3


QUICK = Scale(
    large=64 * MiB,
    small_files=20,
    names=1_000,
    many=2_000,
    most=10_000,
    containers=120,
    patience=2.0,
    far=16 * MiB,
    walk=20,
    deleted=30,
    growing_names=(100, 1_000),
    growing_sizes=(MiB, 16 * MiB),
    growing_readers=(1, 4),
    growing_mounts=(1, 2),
    starts=1,
    repetitions=1,
)


@dataclass(frozen=True)
class Bench:
    """Everything that a section needs.

    Attributes:
        work: a directory; all in it goes at the end.
        server: what ours is mounted over; ``peer_stores`` are the others'.
        ours, write_back, patient: the mount as it is, with ``--write-back``, and believing listings for an hour.
        earlier: the command line of an earlier version, over the same server; None where none was named.
        before, before_write_back: its mounts.
        direct, cached: rclone without a cache of its own, and with one; None where it is not installed.
        local: no mount at all.
        fresh: a name for a new cache.
        charted: how containerfs compares, by the pieces of work so far.
    """

    scale: Scale
    work: Path
    server: ContainerServer
    peer_stores: list[Store]
    ours: Target
    write_back: Target
    patient: Target
    earlier: Program | None
    before: Target | None
    before_write_back: Target | None
    direct: Target | None
    cached: Target | None
    local: Target
    fresh: Callable[[], Path]
    charted: list[Bars] = field(default_factory=list)

    @property
    def contestants(self) -> list[Target]:
        return [target for target in (self.ours, self.before, self.direct, self.cached, self.local) if target]

    @property
    def columns(self) -> list[str]:
        return [target.name for target in self.contestants]

    @property
    def peers(self) -> list[str]:
        return [target.name for target in (self.direct, self.cached, self.before) if target]

    def compared(self, rows: Iterable[Row], *further: str) -> Iterator[str]:
        """A table of medians and ratios; ``further`` are columns besides the contestants."""
        return comparison(rows, [*self.columns, *further], self.peers, self.charted)

    def put(self, files: dict[str, Path]) -> None:
        """Store files for every contestant, by their path below the directory that is worked in."""
        for store in (self.server, *self.peer_stores):
            store.put(files)

    def recall(self) -> None:
        """Read the large files that the servers have, which the kernel may have dropped: their disk is not measured."""
        for directory in _SERVED:
            for path in (self.work / directory).rglob("*"):
                if path.is_file() and path.stat().st_size >= MiB:
                    with path.open("rb", buffering=0) as file:
                        while file.read(MiB):
                            pass

    def random_file(self, name: str, size: int) -> Path:
        """A file of the local disk with content that does not compress; its pages are in memory."""
        path = self.work / name
        if not path.exists():
            with path.open("wb") as file:
                for _ in range(0, size, MiB):
                    file.write(os.urandom(min(size, MiB)))
        return path


@contextlib.contextmanager
def opened(scale: Scale, directory: Path | None, before: Path | None) -> Iterator[Bench]:
    """A bench below ``directory``; all that it made is removed at the end.

    Args:
        before: an interpreter with an earlier version of containerfs, to compare the mount with.
    """
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="containerfs-bench-", dir=directory)))
        numbers = itertools.count()
        earlier = containerfs(before) if before else None

        def mount_before(*options: str) -> Target | None:
            return Containerfs(server, work, *options, name=BEFORE, program=earlier) if earlier else None

        server = stack.enter_context(ContainerServer.running(work / "store"))
        local = LocalDisk(work / "local")
        peer_stores: list[Store] = [local]
        direct: Target | None = None
        cached: Target | None = None

        if shutil.which("rclone"):
            peer = stack.enter_context(RcloneServer.running(work / "served"))
            peer_stores.append(peer)
            direct, cached = (Rclone(peer, work, mode) for mode in ("off", "full"))
        yield Bench(
            scale,
            work,
            server,
            peer_stores,
            ours=Containerfs(server, work),
            write_back=Containerfs(server, work, "--write-back", name="containerfs --write-back"),
            patient=Containerfs(server, work, "--metadata-expiry", "1h"),
            earlier=earlier,
            before=mount_before(),
            before_write_back=mount_before("--write-back"),
            direct=direct,
            cached=cached,
            local=local,
            fresh=lambda: work / f"cache{next(numbers)}",
        )


def rotated(targets: list[Target], by: int) -> list[Target]:
    """The targets, begun with another one: whoever comes first pays for what the disk has left to do from before."""
    first = by % len(targets)
    return targets[first:] + targets[:first]


def in_turns(targets: Iterable[Target | None], repetitions: int, measure: Callable[[Target], float]) -> Samples:
    """Measure each target once, then each once more, and so on."""
    present = [target for target in targets if target]
    samples: Samples = {target.name: [] for target in present}
    for repetition in range(repetitions):
        for target in rotated(present, repetition):
            samples[target.name].append(measure(target))
    return samples
