"""The process of a mount: it mounts, serves until the mount ends, and uploads what is left."""

import gc
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from containerfs.api import models  # noqa: F401 - before the fork: the store needs it, too, and it takes its time
from containerfs.mount import logs
from containerfs.mount.descriptors import raise_limit
from containerfs.mount.embedded import EmbeddedStore
from containerfs.mount.leaving import leave
from containerfs.mount.notifying import notify
from containerfs.mount.settings import MountSettings
from containerfs.mount.starting import Command, Word
from containerfs.mount.statuses import FAILED, INTERRUPTED, reason, status_of

if TYPE_CHECKING:
    from containerfs.fs.reaching import Reaching
    from containerfs.fs.service import ApiRemote

log = logging.getLogger(__name__)

_PRIVATE = 0o077
_DRAIN = 600.0  # seconds that the end of a mount waits for uploads


def main() -> NoReturn:
    """Mount what the command says, and serve until the end."""
    os.umask(os.umask(_PRIVATE) | _PRIVATE)  # new files are private to this user
    gc.freeze()  # modules stay, and garbage collection that visits them again and again takes a fifth of the start
    # httpx would import its own command, and rich, click and pygments for it.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    status = FAILED
    try:
        mountpoint, command = Path(sys.argv[1]), Command(int(sys.argv[2]))
        settings = command.settings()
        status = 0 if settings is None else _stay(settings, mountpoint, command)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        leave(status)


def _stay(settings: MountSettings, mountpoint: Path, command: Command) -> int:
    """Mount and serve, and return the exit status."""
    if not settings.foreground:
        _redirect_output(settings.log_file)
    tell = _tell_terminal if settings.foreground else command.tell
    mounted: list[str] = []

    def ready(what: str) -> None:
        mounted.append(what)
        tell(Word(what))

    try:
        with ExitStack() as stack:
            left = _mount_and_serve(settings, mountpoint, ready, stack)
    except Exception as error:
        if "CONTAINERFS_DEBUG" in os.environ or (mounted and not settings.foreground):
            traceback.print_exc()
        tell(Word(reason(error), status_of(error)))
        return status_of(error)
    if left:
        what = f"{len(left)} not uploaded, kept: {', '.join(left)}; 'containerfs recover' lists it"
        print(f"containerfs mount: {what}", file=sys.stderr)
    return FAILED if left else 0


def _redirect_output(log_file: Path | None) -> None:
    """Write the output of libfuse and Python to the log."""
    output = os.open(log_file or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)


def _tell_terminal(word: Word) -> None:
    if word.status:
        print(f"containerfs mount: {' '.join(word.text.splitlines())}", file=sys.stderr)
        return
    if isinstance(sys.stdout, io.TextIOWrapper):  # paths are bytes, and are printed as they are
        sys.stdout.reconfigure(errors="surrogateescape")
    with suppress(OSError):  # it is mounted, even if nobody can be told
        print(word.text, flush=True)


def _mount_and_serve(
    settings: MountSettings, mountpoint: Path, ready: Callable[[str], None], stack: ExitStack
) -> list[str]:
    """Mount and serve, and return what could not be uploaded when the mount ended. Calls ``ready`` once with what is
    mounted."""
    service, embedded = settings.service, None
    if service.url is None:
        embedded = EmbeddedStore(service.data_dir)  # it starts during the imports below
        stack.callback(embedded.stop)
    logs.begin(settings.log_level, file=settings.log_file, syslog=settings.syslog)
    raise_limit()
    remote, reaching = _reach(settings, embedded, stack)  # during the imports below
    from containerfs.fs.open import open_filesystem
    from containerfs.fuse import mount as fuse_mount
    from containerfs.fuse import serving

    fuse_mount.check_machine()
    claim = fuse_mount.prepare(mountpoint)
    filesystem = open_filesystem(remote, settings.options, reaching)
    stack.callback(filesystem.close)
    container = settings.options.container
    mounted = service.name if container is None else f"container {container!r} of {service.name}"

    def on_ready() -> None:
        os.close(claim)
        ready(f"Mounted {mounted} on {mountpoint}")
        notify(f"READY=1\nSTATUS=Mounted {mounted}")

    serving.serve(
        filesystem,
        mountpoint,
        service=service.url or "embedded",
        metadata_expiry=settings.metadata_expiry,
        read_only=settings.options.read_only,
        inode32=settings.inode32,
        options=settings.fuse_options,
        on_ready=on_ready,
    )
    log.info("Unmounted %s", mountpoint)
    notify("STOPPING=1\nSTATUS=Uploading what is left")
    return [str(unfinished) for unfinished in filesystem.drain(_DRAIN)]


def _reach(settings: MountSettings, embedded: EmbeddedStore | None, stack: ExitStack) -> "tuple[ApiRemote, Reaching]":
    """Begin to reach the chosen service, to which the connections are closed with the stack."""
    from containerfs.fs.reaching import Reaching
    from containerfs.fs.service import ApiRemote
    from containerfs.mount.service import connect

    client, single_shot = (stack.enter_context(each) for each in connect(settings.service, embedded))
    patience = settings.options.patience
    remote = ApiRemote(client, single_shot, settings.service.name, patience, settings.options.new_containers)
    return remote, Reaching(remote, patience, embedded.ready if embedded else bool)
