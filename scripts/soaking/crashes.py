"""Crash rounds: writers on a real mount, over a service that fails by chance, and kills of the mount and the server.

A round has several lives of a mount; each but the last ends with kill -9 while the writers work. Then everything is
mended, a last mount uploads what is due, and what the service holds is compared with the writers' logs.
"""

import json
import random
import subprocess
import sys
import traceback
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from soaking.chance import Dice
from soaking.ledger import Ledger, Operation, TooManyWorlds, Verdict
from soaking.writer import digest
from tests.faults.faults import ALWAYS, anything
from tests.faults.manners import Manner, Piling, Replacing
from tests.faults.mounting import WRITE_BACK, mounted, settled
from tests.faults.service import speaking
from tests.fuse.mounted import Home, Mount
from tests.server.live import LiveServer, running_server

BOX = "box"
Writers = list[subprocess.Popen[bytes]]
_WRITERS = 3
_LATE = 30.0  # seconds after its end in which a writer has to come back from the mount
_SHARES = (0.0, 0.05, 0.2)  # of requests that meet a fault


class Stuck(Exception):
    """Somebody waits for something that does not come."""


@dataclass
class Round:
    """What came of a round.

    Attributes:
        failure: what else went wrong; None if nothing.
    """

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    failure: str | None = None


def play(seed: int, directory: Path) -> Round:
    """One round, in a directory of its own, in which everything is left that may explain it."""
    done = Round(seed)
    try:
        with ExitStack() as stack:
            round = _Play(done, random.Random(seed), directory, stack)
            stack.callback(round.keep_requests, directory / "requests.log")
            round.run()
    except (AssertionError, Stuck, TooManyWorlds, subprocess.SubprocessError, OSError) as failure:
        done.failure = "".join(traceback.format_exception(failure))[-2000:]
    return done


class _Play:
    def __init__(self, done: Round, chance: random.Random, directory: Path, stack: ExitStack) -> None:
        self._round, self._chance, self._stack = done, chance, stack
        self._home = Home(directory / "home")
        self._logs = [directory / f"writer {number}.log" for number in range(_WRITERS)]
        self._store = directory / "store"
        self._server = self._serve("0")
        manner = chance.choice([Manner, Replacing, Piling])
        self._service = stack.enter_context(speaking(self._server, manner))

    def run(self) -> None:
        self._service.create(BOX)
        for _ in range(self._chance.randint(1, 3)):
            self._life()
        with mounted(self._service, self._home) as mount:
            settled(mount, limit=60)
            seen = _files(mount.anew(mount / BOX))
        self._judge(seen)

    def keep_requests(self, log: Path) -> None:
        log.write_text("".join(f"{exchange}\n" for exchange in self._service.proxy.exchanges))

    def _serve(self, port: str) -> LiveServer:
        return self._stack.enter_context(running_server(self._store, "--port", port, "--no-access-log"))

    def _life(self) -> None:
        """A mount that is killed while writers work, and perhaps the server before it."""
        options = [WRITE_BACK] if self._chance.random() < 0.5 else []
        dice = Dice(random.Random(self._chance.random()), self._chance.choice(_SHARES))
        with mounted(self._service, self._home, *options) as mount:
            tops = [mount / BOX / log.stem for log in self._logs]
            for top in tops:
                with suppress(FileExistsError):
                    top.mkdir()
            self._service.proxy.on(anything, dice, times=ALWAYS)
            writers = self._start(tops)
            try:
                self._kill(mount, writers)
            finally:
                dice.end()
                self._service.proxy.mend()
                self._end(writers)
                self._round.faults += dice.counts

    def _kill(self, mount: Mount, writers: Writers) -> None:
        self._work_for(self._chance.uniform(0.2, 3.0), writers)
        if self._chance.random() < 0.3:
            self._server.kill()
            self._round.kills["server"] += 1
            self._work_for(self._chance.uniform(0.2, 1.0), writers)
            self._server = self._serve(self._server.root_url.rpartition(":")[2])
            self._work_for(self._chance.uniform(0.2, 1.0), writers)
        mount.kill()
        self._round.kills["mount"] += 1

    def _work_for(self, seconds: float, writers: Writers) -> None:
        """Let the writers work: how long is for chance to say, so that this waits for no event."""
        with suppress(subprocess.TimeoutExpired):
            writers[0].wait(seconds)
            raise Stuck(f"a writer ended early, with {writers[0].returncode}")

    def _start(self, tops: list[Path]) -> Writers:
        seeds = [str(self._chance.randrange(1 << 30)) for _ in tops]
        command = [sys.executable, "-P", "-m", "soaking.writer"]
        jobs = zip(seeds, tops, self._logs, strict=True)
        return [subprocess.Popen([*command, seed, top, log, "3600"]) for seed, top, log in jobs]

    def _end(self, writers: Writers) -> None:
        """They end with their mount."""
        try:
            for writer in writers:
                if writer.wait(_LATE):
                    raise Stuck(f"a writer ended with {writer.returncode}")
        except subprocess.TimeoutExpired as error:
            raise Stuck("a writer waits for a mount that is dead") from error
        finally:
            for writer in writers:
                writer.kill()

    def _judge(self, seen: list[tuple[str, str]]) -> None:
        held = [(path, digest(content)) for path, content in self._service.holds(BOX)]
        verdict = self._round.verdict
        verdict.wrong += sorted({f"{path} (as the mount shows it)" for path, _ in set(seen) ^ set(held)})
        for log in self._logs:
            ledger, misread = _read(log)
            prefix = f"{log.stem}/"
            verdict.wrong += misread
            judged = ledger.judge((path.removeprefix(prefix), each) for path, each in held if path.startswith(prefix))
            verdict.add(judged.below(prefix))
            self._round.acknowledged += ledger.acknowledged


def _files(top: Path) -> list[tuple[str, str]]:
    """What a mount shows, as (path, digest)."""
    paths = (path for path in top.rglob("*") if path.is_file())
    return [(str(path.relative_to(top)), digest(path.read_bytes())) for path in paths]


def _read(log: Path) -> tuple[Ledger, list[str]]:
    """A writer's log as a ledger, and what it misread."""
    ledger, misread = Ledger(), []
    for line in log.read_text().splitlines():
        fields = json.loads(line)
        outcome = fields.pop("outcome")
        if outcome == "misread":
            misread.append(fields["path"])
        else:
            operation = Operation(**fields)
            (ledger.happened if outcome == "done" else ledger.may_have_happened)(operation)
    return ledger, misread
