"""A limit on processes and threads: a control group of a test's own. It holds for root, which ``ulimit -u`` does not.

Source: cgroups(7), Documentation/admin-guide/cgroup-v1/pids.rst and cgroup-v2.rst of Linux.
"""

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.fuse.mounted import eventually

_TOPS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


def may_limit_processes() -> bool:
    """Whether this user may make a control group that limits processes."""
    try:
        with at_most(10):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def at_most(count: int) -> Iterator[tuple[str, ...]]:
    """The prefix of commands that may have so many processes and threads, together with those that they start."""
    group = Path(tempfile.mkdtemp(prefix="containerfs-", dir=_top()))
    try:
        (group / "pids.max").write_text(f"{count}")
        yield ("sh", "-c", _ENTER, os.fspath(group))
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        eventually(lambda: _is_removed(group), "the last process has ended")


def _top() -> Path:
    """Raises OSError."""
    for top in _TOPS:
        with contextlib.suppress(OSError):
            if (top / "cgroup.controllers").exists():
                (top / "cgroup.subtree_control").write_text("+pids")
                return top
            if (top / "cgroup.procs").exists() and (top / "notify_on_release").exists():
                return top
    raise OSError("no control groups")


def _is_removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
