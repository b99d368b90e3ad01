"""A mount namespace of a test's own, in which it may mount over what the machine has. Source: mount_namespaces(7)."""

import contextlib
import os
import subprocess
from collections.abc import Iterator

# A mount lasts for as long as any namespace has it, and what other tests have mounted is to end when they unmount it.
# In a namespace that follows (a slave) it does where / is shared, as systemd has it. Elsewhere root lets go of it,
# which others cannot.
FOLLOWING = ("unshare", "--mount", "--propagation", "slave")
_HOLDING = ("unshare", "--mount", "--propagation", "private")
LET_GO = "umount --all --types fuse.containerfs --lazy --internal-only --no-canonicalize 2>/dev/null || :"


@contextlib.contextmanager
def namespace(script: str, *arguments: object, holding: bool = False) -> Iterator[tuple[str, ...]]:
    """The prefix of commands that run in a new namespace.

    Args:
        script: of sh(1), run in it first, as root, to mount what is wanted; ``arguments`` are its $1, $2, ...
        holding: whether it keeps the mounts of containerfs that there are.
    """
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    steps = "\n".join([*([] if holding else [LET_GO]), script, "echo ready; read -r _ || :"])
    holder = [*(_HOLDING if holding else FOLLOWING), *as_root, "sh", "-ec", steps, "sh", *map(str, arguments)]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(process.stderr.read().decode())
            user = ["--user", "--preserve-credentials"] if as_root else []
            yield ("nsenter", "--target", str(process.pid), "--mount", *user)
        finally:
            process.kill()


FULL_DISK = 'mkdir -p "$1"; mount -t tmpfs -o size="$2" tmpfs "$1"'
"""Makes a small disk at $1, of size $2."""

WITHOUT_FUSE = """
mkdir -p "$1"
for device in null zero full random urandom tty; do : > "$1/$device"; mount --bind "/dev/$device" "$1/$device"; done
mount --rbind "$1" /dev
"""
"""Leaves of /dev what programs need, and no /dev/fuse; $1 is a directory to use for that."""

WITH_SYSLOG = """
mkdir -p "$1"
for device in null zero full random urandom tty fuse; do
    : > "$1/$device"
    mount --bind "/dev/$device" "$1/$device"
done
ln -s "$2" "$1/log"
mount --rbind "$1" /dev
"""
"""Has /dev/log be the socket $2; $1 is a directory to use for that."""
