"""A mount namespace of a test's own, in which it may mount over what the machine has. Source: mount_namespaces(7)."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

# A mount lasts for as long as any namespace has it, and what other tests have mounted is to end when they unmount it.
# In a namespace that follows (a slave) it does where / is shared, as systemd has it. Elsewhere root lets go of it,
# which others cannot.
FOLLOWING = ("unshare", "--mount", "--propagation", "slave")
LET_GO = "umount --all --types fuse.containerfs --lazy --internal-only --no-canonicalize 2>/dev/null || :"
# Where / is shared, what is unmounted there goes away in a slave as well, but for what is bound to another place.
_HOLD = """
mount -t tmpfs tmpfs "$place"
mount --make-private "$place"
mkdir "$place/held"
mount --bind "$held" "$place/held"
while read -r _ path type _; do
    path=$(printf %b "$path")
    [ "$type" != fuse.containerfs ] || [ "$path" = "$place/held" ] ||
        umount --lazy --internal-only --no-canonicalize "$path" 2>/dev/null || :
done < /proc/self/mounts
"""


@contextlib.contextmanager
def namespace(script: str, *arguments: object, holding: Path | None = None) -> Iterator[tuple[str, ...]]:
    """The prefix of commands that run in a new namespace.

    Args:
        script: of sh(1), run in it first, as root, to mount what is wanted; ``arguments`` are its $1, $2, ...
        holding: the one mount of containerfs that the namespace keeps; those of other tests are theirs.
    """
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    steps = "\n".join([LET_GO if holding is None else _HOLD, script, "echo ready; read -r _ || :"])
    holder = [*FOLLOWING, *as_root, "sh", "-ec", steps, "sh", *map(str, arguments)]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryDirectory() as place,
        subprocess.Popen(
            holder, stdin=pipe, stdout=pipe, stderr=pipe, env=os.environ | {"held": str(holding), "place": place}
        ) as process,
    ):
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
