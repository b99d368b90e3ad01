"""scripts/setup says in one line what it cannot do, and does nothing twice.

The package manager, Python and pip are stand-ins here, to be missing, old or broken at will. That the real ones work
together shows whenever scripts/test runs.
"""

from subprocess import CompletedProcess

import pytest

from tests.scripts.conftest import Machine

LDCONFIG = "echo '	libfuse3.so.3 (libc6,x86-64) => /lib/libfuse3.so.3'"

# A Python that is new enough, and whose venv holds a Python that logs the calls of pip.
PYTHON = r"""
case "$*" in
*"-m venv"*)
    mkdir -p .venv/bin
    sed 's/^case.*/case "$*" in *"-m pip"*) echo "pip $*" >>"$log" ;;/' "$0" >.venv/bin/python
    chmod +x .venv/bin/python ;;
esac
"""


@pytest.fixture
def ready(machine: Machine) -> Machine:
    """A machine that lacks nothing but the virtual environment."""
    machine.command("ldconfig", LDCONFIG)
    machine.command("fusermount3", "")
    machine.command("id", "echo 0")
    machine.command("python3", PYTHON)
    return machine


def said(outcome: CompletedProcess[str]) -> str:
    """The one line of a failure."""
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    (line,) = outcome.stderr.splitlines()
    return line


def test_installs_once(ready: Machine) -> None:
    first = ready.run("setup")
    assert (first.returncode, first.stdout) == (0, "")
    assert ready.logged() == ["pip -m pip install -qq --editable ."]
    second = ready.run("setup")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(ready.logged()) == 1


def test_tools_for_development_serve_a_run_too(ready: Machine) -> None:
    for args in ([], ["--dev"], [], ["--dev"]):
        assert ready.run("setup", *args).returncode == 0
    assert ready.logged() == ["pip -m pip install -qq --editable .", "pip -m pip install -qq --editable .[dev,docs]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(ready: Machine, name: str) -> None:
    ready.run("setup")
    (ready.checkout / name).write_text("# changed")
    ready.run("setup")
    assert len(ready.logged()) == 2


def test_a_checkout_that_moved_is_installed_again(ready: Machine) -> None:
    ready.run("setup")
    ready.checkout = ready.checkout.rename(ready.checkout.with_name("moved"))
    ready.run("setup")
    assert len(ready.logged()) == 2


def test_run_passes_its_arguments_on(ready: Machine) -> None:
    ready.run("setup")
    containerfs = ready.checkout / ".venv/bin/containerfs"
    containerfs.write_text(f"#!{ready.bin}/sh\nprintf '<%s>' \"$@\"; exit 7\n")
    containerfs.chmod(0o755)
    outcome = ready.run("run", "mount", "a b", "")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (7, "<mount><a b><>", "")


def test_old_python(ready: Machine) -> None:
    ready.command("python3", 'if [ "$1" = --version ]; then echo Python 3.9.18; else exit 1; fi')
    assert said(ready.run("setup")) == "setup: containerfs needs Python 3.11 or newer; python3 here is Python 3.9.18"


def test_a_newer_python_beside_an_old_one(ready: Machine) -> None:
    ready.command("python3", "exit 1")
    ready.command("python3.12", PYTHON)
    assert ready.run("setup").returncode == 0
    assert len(ready.logged()) == 1


def test_python_without_venv(ready: Machine) -> None:
    """Debian keeps ensurepip in a package of its own."""
    ready.command("python3", 'case "$*" in *ensurepip*) exit 1 ;; esac')
    assert "missing (Debian's names): python3-venv;" in said(ready.run("setup"))


def test_no_python(ready: Machine) -> None:
    (ready.bin / "python3").unlink()
    assert "missing (Debian's names): python3-venv;" in said(ready.run("setup"))


def test_pip_fails(ready: Machine) -> None:
    ready.command("python3", PYTHON.replace('echo "pip $*" >>"$log"', "exit 1"))
    outcome = ready.run("setup")
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1] == "setup: pip could not install . into .venv"
    assert ready.run("setup").returncode == 1  # the failure is not taken for an installation


@pytest.mark.parametrize(
    ("manager", "advice"),
    [
        ("dnf", "here with: dnf install fuse3 fuse3-libs"),
        ("pacman", "here with: pacman -S fuse3"),
        ("zypper", "here with: zypper install fuse3 libfuse3-3"),
        ("apk", "here with: apk add fuse3 fuse3-libs"),
        ("unheard-of", "with this system's package manager"),
    ],
)
def test_without_apt_the_packages_are_named(ready: Machine, manager: str, advice: str) -> None:
    ready.command("ldconfig", "")
    ready.command(manager, "")
    line = said(ready.run("setup"))
    assert line.startswith("setup: missing (Debian's names): fuse3; install them first")
    assert line.endswith(advice)


def test_neither_root_nor_sudo(ready: Machine) -> None:
    (ready.bin / "fusermount3").unlink()
    ready.command("apt-get", "")
    ready.command("id", "echo 1000")
    assert said(ready.run("setup")) == ("setup: missing: fuse3; install them as root (apt-get install), then try again")


def test_package_lists_are_fetched_when_needed(ready: Machine) -> None:
    """On a fresh image apt knows no package until its lists are there."""
    ready.command("ldconfig", "")
    lists = 'case "$*" in *update*) touch "$log.lists" ;; *) [ -e "$log.lists" ] ;; esac'
    ready.command("apt-get", f'echo "${{*##* }}" >>"$log"; {lists}')
    assert ready.run("setup").returncode == 0
    assert ready.logged()[:3] == ["fuse3", "update", "fuse3"]


def test_sudo_installs_for_others_than_root(ready: Machine) -> None:
    ready.command("id", "echo 1000")
    ready.command("sudo", 'echo "sudo ${*##* }" >>"$log"; "$@"')
    ready.command("apt-get", "")
    assert ready.run("setup", "--dev", "rsync=rsync", "sh=dash").returncode == 0
    assert ready.logged()[0] == "sudo rsync"


def test_apt_fails(ready: Machine) -> None:
    ready.command("ldconfig", "")
    ready.command("apt-get", "exit 100")
    outcome = ready.run("setup")
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1] == "setup: apt-get could not install: fuse3"
