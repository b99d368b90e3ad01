"""Requests per operation, as the server counts them."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.processes import environment, run
from benchmarks.report import table
from benchmarks.targets import CONTAINER

TITLE = "Requests"

_LISTED = (0, 1, 100, 101, 1000)
_TREE = 100


@dataclass(frozen=True)
class Step:
    """An operation.

    Attributes:
        aim: how many requests it should take.
    """

    label: str
    do: Callable[[Path], object]
    aim: int


def section(bench: Bench) -> Iterator[str]:
    """What each operation costs, one after the other on one mount."""
    for count in _LISTED:
        bench.server.put_many(f"with {count}", count)
    bench.server.put({"there": bench.random_file("there", 4096), "kept": bench.random_file("kept", 4096)})
    tree = bench.work / "tree"
    tree.mkdir()
    for number in range(_TREE):
        bench.random_file(f"tree/{number:03}", 4096)
    yield (
        "By the server's own count, while one program after the other ran on one mount; each `ls` had its own mount,"
        " for whoever looks into one container after the other has the next ones listed. What was listed is believed"
        " for `--metadata-expiry` (ten seconds by default, here an hour, so that each step pays for itself alone). A"
        " directory is one request more. One in 25 of the temporary names that rsync draws looks like a word: that file"
        " is uploaded under it, and then renamed."
    )
    yield ""
    yield from table(["operation", "requests", "aim", "which"], _rows(bench, tree))


def _steps(tree: Path, out: Path) -> list[Step]:
    inside = CONTAINER
    return [
        Step("`cat`, never looked at before", lambda p: run("cat", p / inside / "there"), 2),
        Step("`cat` again", lambda p: run("cat", p / inside / "there"), 0),
        Step("`cat` of another file", lambda p: run("cat", p / inside / "kept"), 1),
        Step("`stat` of a name that is not there", lambda p: _fails("stat", p / inside / "absent"), 0),
        Step("`cp` of one new file", lambda p: run("cp", tree / "000", p / inside / "new"), 1),
        Step("`cat` of what was just written", lambda p: run("cat", p / inside / "new"), 0),
        Step("`cp` over it", lambda p: run("cp", tree / "001", p / inside / "new"), 1),
        Step("`mv` to another name", lambda p: run("mv", p / inside / "new", p / inside / "newer"), 2),
        Step("`rm`", lambda p: run("rm", p / inside / "newer"), 1),
        Step(f"`cp -r` of {_TREE} files in", lambda p: run("cp", "-r", tree, p / inside / "tree"), _TREE + 1),
        Step(f"`cp -r` of {_TREE} files out", lambda p: run("cp", "-r", p / inside / "tree", out), 0),
        Step(f"`rm -r` of {_TREE} files", lambda p: run("rm", "-r", p / inside / "tree"), _TREE),
        Step(
            f"`rsync -a` of {_TREE} files in",
            lambda p: run("rsync", "-a", f"{tree}/", p / inside / "synced"),
            _TREE + 1,
        ),
        Step("`rsync -a` again", lambda p: run("rsync", "-a", f"{tree}/", p / inside / "synced"), 0),
    ]


def _pages(files: int) -> int:
    """Requests that list so many files; two walks of more than 500, from both ends, have to meet."""
    return max(1, -(-files // 100)) + (files > 500)


def _rows(bench: Bench, tree: Path) -> Iterator[list[str]]:
    for count in _LISTED:
        with _looking_anew(bench) as root:
            yield _done(bench, root, Step(f"`ls` of {count} files", partial(_list, count, "-1"), _pages(count)))
            if count == _LISTED[-1]:
                yield _done(bench, root, Step("`ls -l` of these, listed before", partial(_list, count, "-l"), 0))
    out = bench.work / "copied"
    with _looking_anew(bench) as root:
        for step in _steps(tree, out):
            yield _done(bench, root, step)
    shutil.rmtree(out)


@contextlib.contextmanager
def _looking_anew(bench: Bench) -> Iterator[Path]:
    """The top of a mount that knows which containers there are, and nothing of their files."""
    cache = bench.fresh()
    with bench.patient.mounted(cache) as mounted:
        yield mounted.path.parent
    shutil.rmtree(cache)


def _done(bench: Bench, root: Path, step: Step) -> list[str]:
    before = bench.server.requests()
    step.do(root)
    after = bench.server.requests()
    return _row(step, {name: count - before.get(name, 0) for name, count in after.items()})


def _row(step: Step, requests: dict[str, int]) -> list[str]:
    sent = {
        name.replace("/v1/containers/{container_id}", "…"): count
        for name, count in requests.items()
        if count and not name.endswith("/metrics")
    }
    which = ", ".join(f"{count} of `{name}`" for name, count in sent.items())
    return [step.label, str(sum(sent.values())), str(step.aim), which]


def _list(count: int, how: str, root: Path) -> None:
    run("ls", how, root / f"with {count}")


def _fails(*command: str | Path) -> None:
    done = subprocess.run(command, env=environment(), capture_output=True)
    assert done.returncode, command
