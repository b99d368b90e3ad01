"""``scripts/soak``: alternates crash rounds and histories of the model, and prints what came of them as Markdown."""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from soaking import crashes, histories, replacing

PARTS = ("crashes", "model", "replacing")
_WRONG = ("lost", "doubled", "wrong")


class Tally:
    """All that was seen so far."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.failures: list[str] = []

    def add_round(self, done: crashes.Round) -> None:
        self.counts.update(rounds=1, acknowledged=done.acknowledged)
        self.counts.update({f"kills of the {what}": number for what, number in done.kills.items()})
        self.counts.update({what: len(getattr(done.verdict, what)) for what in _WRONG})
        self.faults += done.faults

    @property
    def is_good(self) -> bool:
        return not self.failures and not any(self.counts[what] for what in _WRONG)

    def report(self) -> Iterator[str]:
        yield "| | |"
        yield "|---|--:|"
        kills = sorted(what for what in self.counts if what.startswith("kills"))
        for what in ("rounds", "rounds of the model", "opens while replaced", *kills, "acknowledged", *_WRONG):
            yield f"| {what} | {self.counts[what]:,} |"
        yield f"| failed otherwise | {len(self.failures)} |"
        yield f"| faults | {sum(self.faults.values()):,} |"
        for kind, number in sorted(self.faults.items()):
            yield f"| - {kind} | {number:,} |"


class Soak:
    """A trial.

    Args:
        directory: where rounds work; those that fail stay there.
    """

    def __init__(self, directory: Path) -> None:
        self.tally = Tally()
        self._directory = directory

    def play(self, part: str, seed: int) -> None:
        """One round of crashes, some histories of the model, or opens of a file that is replaced."""
        directory = self._directory / f"{part}-{seed}"
        directory.mkdir(parents=True)
        failures = {"crashes": self._crashes, "model": self._model, "replacing": self._replacing}[part](seed, directory)
        if failures:
            print(f"soak: {part}, seed {seed}: kept in {directory}", file=sys.stderr)
            for failure in failures:
                print(f"soak: {failure}", file=sys.stderr)
        else:
            shutil.rmtree(directory)

    def _crashes(self, seed: int, directory: Path) -> list[str]:
        done = crashes.play(seed, directory)
        self.tally.add_round(done)
        wrong = [f"{what}: {path}" for what in _WRONG for path in getattr(done.verdict, what)]
        return wrong + self._failed(done.failure)

    def _model(self, seed: int, directory: Path) -> list[str]:
        self.tally.counts["rounds of the model"] += 1
        return self._failed(histories.play(seed, directory))

    def _replacing(self, seed: int, directory: Path) -> list[str]:
        opens, failure = replacing.play(directory)
        self.tally.counts["opens while replaced"] += opens
        return self._failed(failure)

    def _failed(self, failure: str | None) -> list[str]:
        failures = [failure] if failure else []
        self.tally.failures += failures
        return failures


def main() -> None:
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends too
    soak = Soak(Path(asked.directory or tempfile.mkdtemp(prefix="soak-")))
    goes_on = _until(asked.minutes, asked.rounds)
    parts = asked.parts or PARTS
    seeds = _seeds(asked.seed)
    try:
        while goes_on():
            for part in parts:
                soak.play(part, next(seeds))
    except KeyboardInterrupt:
        print("soak: interrupted", file=sys.stderr)
    print("\n".join(soak.tally.report()))
    sys.exit(not soak.tally.is_good)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Random histories with faults and kills.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to go on")
    parser.add_argument("--rounds", type=int, help="how many rounds to make instead")
    parser.add_argument("--seed", type=int, help="of the first round; the seed of one that failed repeats that")
    parser.add_argument("--directory", type=Path, help="where to work, and to keep what failed")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return asked


def _until(minutes: float, rounds: int | None) -> Callable[[], bool]:
    """Whether to go on, asked before each round."""
    left = iter(range(rounds or 0))
    end = time.monotonic() + minutes * 60
    return lambda: next(left, None) is not None if rounds else time.monotonic() < end


def _seeds(first: int | None) -> Iterator[int]:
    seed = random.SystemRandom().randrange(1 << 30) if first is None else first
    while True:
        yield seed
        seed += 1


if __name__ == "__main__":
    main()
