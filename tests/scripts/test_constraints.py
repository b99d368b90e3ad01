"""constraints.txt pins whatever an installation can pull in, by name and version alone."""

import itertools
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = (ROOT / "constraints.txt").read_text().splitlines()


def declared() -> list[str]:
    """Every requirement that pyproject.toml names: to build, to run, and of each extra."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    return [*PROJECT["build-system"]["requires"], *project["dependencies"], *itertools.chain(*extras)]


def applying(requirements: list[str], extras: set[str]) -> Iterator[Requirement]:
    """The requirements whose markers hold here for a distribution that was asked for with these extras."""
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield requirement


def closure(requirements: list[str]) -> set[str]:
    """The names of the distributions that these requirements lead to, as far as they are installed here."""
    names: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = list(applying(requirements, set()))
    while pending:
        requirement = pending.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        names.add(name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            pending += applying(requires(name) or [], set(extras))
        except PackageNotFoundError:  # the build's requirements live in an environment of pip's own
            continue
    return names


def test_each_line_is_a_name_and_a_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[\w.]+", line)] == []


def test_lines_are_sorted_and_single() -> None:
    names = [canonicalize_name(line.split("==")[0]) for line in LINES]
    assert names == sorted(set(names))


def test_everything_that_an_installation_pulls_in_is_pinned() -> None:
    pinned = {canonicalize_name(line.split("==")[0]) for line in LINES}
    assert closure(declared()) - pinned == set()


def test_pins_satisfy_what_is_declared() -> None:
    versions = {canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)}
    unsatisfied = [
        str(each)
        for each in map(Requirement, declared())
        if versions[canonicalize_name(each.name)] not in each.specifier
    ]
    assert unsatisfied == []
