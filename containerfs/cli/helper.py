"""``mount.containerfs``: what mount(8) runs for the type ``fuse.containerfs``, for example for a line of /etc/fstab.

    containerfs  /mnt/containers  fuse.containerfs  url=https://example.com/v1,api_key_file=/etc/key,_netdev  0 0

Settings have their own names; ``expiry`` is ``metadata_expiry``. Options for mount(8) itself or for systemd are left
out, and all others are passed to libfuse. Source: mount(8), "External helpers"; fstab(5).
"""

import os
import pwd
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

_USAGE = "usage: mount.containerfs SOURCE MOUNTPOINT [-sfnv] [-o OPTION[,OPTION...]]"
_NOT_OURS = {
    *("defaults", "rw", "auto", "noauto", "nofail", "user", "nouser", "users", "nousers", "owner", "group", "_netdev"),
    *("relatime", "norelatime", "strictatime"),
}
_NO_SERVICE = ("containerfs", "none", "")
_SHORT = {"expiry": "metadata_expiry"}
_LISTS = ("keep_alive",)


def main() -> None:
    """Mount as mount(8) requests, and wait until the mount answers."""
    try:
        source, mountpoint, options, fake = _arguments(sys.argv[1:])
        words = _command(source, mountpoint, options)
    except ValueError as error:
        print(f"mount.containerfs: {error}", file=sys.stderr)
        sys.exit(1)
    if fake:
        return
    from containerfs.cli import main as run

    sys.argv = ["containerfs", *words]
    run()


def _arguments(words: Sequence[str]) -> tuple[str, str, list[str], bool]:
    """Parse source, mountpoint, options, and whether to do nothing. mount(8) passes the flags after the first two."""
    places, options, fake = [], [], False
    left = list(words)
    while left:
        word = left.pop(0)
        if word in ("-o", "-t", "-N"):
            if not left:
                _fail(_USAGE)
            value = left.pop(0)
            options += value.split(",") if word == "-o" else []
        elif word.startswith("-") and set(word[1:]) <= set("sfnv"):
            fake = fake or "f" in word
        else:
            places.append(word)
    if len(places) != 2:
        _fail(_USAGE)
    return places[0], places[1], [option for option in options if option], fake


def _command(source: str, mountpoint: str, options: list[str]) -> list[str]:
    """Return the arguments of ``containerfs``; settings are passed in the environment."""
    from containerfs.config import Settings

    libfuse = []
    if source.startswith(("http://", "https://")):
        os.environ["CONTAINERFS_URL"] = source
    elif source not in _NO_SERVICE:
        os.environ["CONTAINERFS_PROFILE"] = source
    for option in options:
        name, given, value = option.partition("=")
        name = _SHORT.get(name, name)
        if name in _NOT_OURS or name.startswith(("x-", "comment")):
            continue
        if name == "api_key":
            _fail("api_key: everybody can read /etc/fstab and command lines; use api_key_file or api_key_command")
        if name == "setuid":
            _become(value)
        elif name == "ro":
            os.environ["CONTAINERFS_READ_ONLY"] = "true"
        elif name in Settings.model_fields:
            value = f'["{value}"]' if name in _LISTS else value
            os.environ[f"CONTAINERFS_{name.upper()}"] = value if given else "true"
        else:
            libfuse.append(option)
    return ["mount", mountpoint, *(["-o", ",".join(libfuse)] if libfuse else [])]


def _become(name: str) -> None:
    """Become another user, who then owns the mount and whose settings apply."""
    try:
        user = pwd.getpwnam(name)
        os.initgroups(name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except KeyError:
        _fail(f"setuid: there is no user {name}")
    except OSError as error:
        _fail(f"setuid: {error.strerror}")
    os.environ |= {"HOME": user.pw_dir, "USER": name, "LOGNAME": name}
    with suppress(OSError):
        os.chdir(user.pw_dir)


def _fail(why: str) -> NoReturn:
    raise ValueError(why)
