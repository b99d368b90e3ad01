"""A mount whose service fails, and that is killed, against a model: nothing is lost, doubled, swapped or stuck.

After each history faults end, and everything is drained; then the service holds the model's files, each once, and
nothing else. Histories are drawn from a seed; one that fails is shown as short as it could be made.
"""

import os
import traceback
from random import Random
from typing import Any

import pytest

from tests.model.clock import no_clock
from tests.model.failing import PATHS, STEPS, FailingMounts
from tests.model.line import ASKING, DELETING, HOLDING, STORING, Fault

Step = tuple[str, dict[str, Any]]
History = tuple[dict[str, Any], list[Step]]
"""What a mount begins with, and the steps."""


def some_fault(chance: Random) -> Fault | None:
    """Half of all steps have one."""
    operation = chance.choice([None, None, None, None, "store", "store", "delete", chance.choice(["list", "content"])])
    match operation:
        case None:
            return None
        case "store":
            return Fault("store", chance.choice([*STORING, *HOLDING]), chance.randint(1, 4))
        case "delete":
            return Fault("delete", chance.choice(DELETING), chance.randint(1, 2))
        case _:
            return Fault(operation, chance.choice(ASKING), chance.randint(1, 3))


def drawn(chance: Random) -> History:
    """A history."""
    begin: dict[str, Any] = {name: chance.random() < 0.5 for name in ("tells", "copies", "idempotency", "write_back")}
    there = {path for path in PATHS if chance.random() < 0.4}
    names = [*STEPS, "write", "append", "rename"]
    steps = []
    for name in (chance.choice(names) for _ in range(chance.randint(2, 12))):
        values = {key: draw(chance) for key, draw in STEPS[name].items()}
        steps.append((name, {**values, "fault": some_fault(chance)}))
    begin |= {"replaces": chance.choice(["nothing", "new id"]), "there": there}
    return {**begin, "streams": chance.random() < 0.5}, steps


def what_goes_wrong(history: History) -> str | None:
    """Play a history."""
    begin, steps = history
    mounts = FailingMounts()
    try:
        with mounts.played():
            mounts.begin(**begin)
            for name, values in steps:
                getattr(mounts, name)(**values)
    except Exception:
        return traceback.format_exc()
    return None


def shortened(history: History) -> History:
    """The same failure, or another, in fewer steps."""
    begin, steps = history
    place = 0
    while place < len(steps):
        fewer = begin, [*steps[:place], *steps[place + 1 :]]
        if what_goes_wrong(fewer):
            steps = fewer[1]
        else:
            place += 1
    return begin, steps


def run(examples: int, seed: int = 0) -> None:
    """Play ``examples`` histories; those of one seed are the same each time."""
    with no_clock():
        for number in range(seed, seed + examples):
            history = drawn(Random(number))
            if what_goes_wrong(history):
                begin, steps = shortened(history)
                lines = "\n".join(map(str, [begin, *steps]))
                pytest.fail(f"seed {number}\n{lines}\n{what_goes_wrong((begin, steps))}")


def test_nothing_is_lost_doubled_swapped_or_stuck() -> None:
    run(int(os.environ.get("MODEL_EXAMPLES", 200)), int(os.environ.get("MODEL_SEED", 0)))
