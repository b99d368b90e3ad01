"""A soak in small: it runs, counts, and finds nothing; and its ledger finds what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(ROOT / "scripts"))
from soaking.ledger import Ledger, Operation  # noqa: E402

sys.path.pop(0)


def test_a_round_of_crashes(tmp_path: Path) -> None:
    soak = str(ROOT / "scripts" / "soak")
    command = [soak, "--rounds", "1", "--seed", "3", "--directory", str(tmp_path), "crashes"]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    rows = dict(line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:])
    assert rows["rounds"] == "1"
    assert (rows["lost"], rows["doubled"], rows["wrong"], rows["failed otherwise"]) == ("0", "0", "0", "0")
    assert int(rows["acknowledged"].replace(",", "")) > 0
    assert int(rows["kills of the mount"]) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def ledger() -> Ledger:
    """``a`` was written twice; whether ``b`` was renamed to ``c`` is not known."""
    ledger = Ledger()
    for path, digest in [("a", "1"), ("b", "2"), ("a", "3")]:
        ledger.happened(Operation("write", path, digest))
    ledger.may_have_happened(Operation("rename", "b", target="c"))
    return ledger


@pytest.mark.parametrize("held", [[("a", "3"), ("b", "2")], [("a", "3"), ("c", "2")]])
def test_what_may_be_true_is_good(ledger: Ledger, held: list[tuple[str, str]]) -> None:
    assert ledger.judge(held).is_good
    assert ledger.acknowledged == 3


@pytest.mark.parametrize(
    ("held", "lost", "doubled", "wrong"),
    [
        ([("b", "2")], ["a"], [], []),
        ([("a", "1"), ("b", "2")], ["a"], [], []),
        ([("a", "torn"), ("b", "2")], [], [], ["a"]),
        ([("a", "3"), ("b", "2"), ("b", "2")], [], ["b"], []),
        ([("a", "3"), ("b", "2"), ("c", "2")], [], [], ["c"]),
        ([("a", "3")], ["b"], [], []),
    ],
)
def test_what_cannot_be_true(
    ledger: Ledger, held: list[tuple[str, str]], lost: list[str], doubled: list[str], wrong: list[str]
) -> None:
    verdict = ledger.judge(held)
    assert (verdict.lost, verdict.doubled, verdict.wrong) == (lost, doubled, wrong)


def test_directories_are_renamed_whole() -> None:
    ledger = Ledger()
    for path in ("d/a", "d/b"):
        ledger.happened(Operation("write", path, path))
    ledger.may_have_happened(Operation("rename directory", "d", target="e"))
    assert ledger.judge([("e/a", "d/a"), ("e/b", "d/b")]).is_good
    assert not ledger.judge([("e/a", "d/a"), ("d/b", "d/b")]).is_good
