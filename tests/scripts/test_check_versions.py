"""scripts/check-versions installs what it is asked for beside .venv, and runs the tests there.

Python, uv and the tests are stand-ins here, which log how they are called.
"""

import pytest

from tests.scripts.conftest import Machine

PYTHON = r"""
echo "python $*" >>"$log"
mkdir -p "$4/bin"
for name in python uv; do
    printf '%s\n' "$(sed 2q "$0")" "echo \"$name \$*\" >>\"\$log\"" >"$4/bin/$name"
    chmod +x "$4/bin/$name"
done
"""


@pytest.mark.parametrize(("versions", "resolution"), [("lowest", "lowest-direct"), ("newest", "highest")])
def test_the_tests_run_with_the_versions_asked_for(machine: Machine, versions: str, resolution: str) -> None:
    machine.command("python3", PYTHON)
    for script, body in (("setup", ""), ("test", 'echo "$PYTEST: $*"')):
        (machine.checkout / "scripts" / script).write_text(f"#!/bin/sh\n{body}\n")
    outcome = machine.run("check-versions", versions, "tests/api", PYTHON="python3")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    venv = f".venv-{versions}"
    assert outcome.stdout == f"{venv}/bin/python -m pytest -W default::DeprecationWarning: tests/api\n"
    assert machine.logged() == [
        f"python -m venv --clear {venv}",
        "python -m pip install -qq uv",
        f"uv pip install --quiet --python {venv}/bin/python --resolution {resolution} --editable .[dev]",
    ]


def test_it_names_its_arguments(machine: Machine) -> None:
    outcome = machine.run("check-versions")
    assert (outcome.returncode, outcome.stderr.split()[0]) == (2, "usage:")
