"""``containerfs mount``: mounts in the background by default, and returns once the mount answers.

The process that stays (``containerfs.mount``) starts as soon as the mountpoint is known. It imports what it needs while
the options are converted and the settings are read here.
"""

import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from containerfs.cli import streams
from containerfs.cli.asking import AskingError, ask
from containerfs.cli.failure import fail, reporting
from containerfs.cli.options import (
    CacheDirOption,
    DataDirOption,
    ExpiresAfterOption,
    LocalOption,
    LogLevelOption,
    ProfileOption,
    UrlOption,
    VerboseOption,
    absolute,
    mountpoint_argument,
    options_of_logs,
)
from containerfs.cli.switches import CommandWithSwitches

if TYPE_CHECKING:
    from containerfs.config import Settings
    from containerfs.mount.settings import MountSettings
    from containerfs.mount.starting import Starting

_LIBFUSE = (b"fuse: ", b"fusermount: ", b"fusermount3: ", b"mount: ")  # the beginning of its lines
_PRIVATE = 0o077


class Command(CommandWithSwitches):
    """The command, which starts the process of a mount before anything else is done."""

    def begin(self, ctx: Any, args: list[str]) -> "Starting | None":
        """Start the process, unless it is not wanted. What is wrong with the words is reported once they are parsed
        again."""
        from containerfs.fs.types import NoThread
        from containerfs.mount.starting import Starting

        try:
            given, _, _ = self.make_parser(ctx).parse_args(self.expanded(args))
            mountpoint = None if given.get("foreground") or given.get("help") else absolute(given["mountpoint"])
        except Exception:  # the versions of typer have different ones
            return None
        try:
            return Starting(mountpoint) if mountpoint else None
        except NoThread as error:
            fail("mount", str(error))


def mount(
    context: typer.Context,
    mountpoint: Annotated[Path, mountpoint_argument("An empty directory; created if its parent exists.")],
    url: UrlOption = None,
    local: LocalOption = False,
    profile: ProfileOption = None,
    data_dir: DataDirOption = None,
    cache_dir: CacheDirOption = None,
    cache_size: Annotated[str | None, typer.Option(help="Most content to keep in the cache, as 10G.")] = None,
    metadata_expiry: Annotated[str | None, typer.Option(help="How long to trust a listing, as 10s.")] = None,
    patience: Annotated[
        str | None, typer.Option(help="How long to wait for a service that does not answer, as 13s.")
    ] = None,
    container: Annotated[
        str | None, typer.Option(metavar="NAME", help="Mount only this container, with its files at the top.")
    ] = None,
    expires_after: ExpiresAfterOption = None,
    keep_alive: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Keep this container alive by using it now and then. Repeatable."),
    ] = None,
    keep_attributes: Annotated[
        bool | None,
        typer.Option(
            "--keep-attributes",
            help="Store modes, owners, times and empty directories in a small file of each container, "
            "where the service has no other place for them.",
        ),
    ] = None,
    write_back: Annotated[
        str | None,
        typer.Option(
            metavar="[=strict]",
            help="Do not wait for uploads when a file is closed; with =strict, wait for this machine's disk.",
        ),
    ] = None,
    read_only: Annotated[bool | None, typer.Option("--read-only", help="Refuse every change.")] = None,
    inode32: Annotated[
        bool | None, typer.Option("--inode32", help="Use 32-bit inode numbers, for 32-bit programs.")
    ] = None,
    streaming_uploads: Annotated[
        str | None, typer.Option(help="Begin to upload large files while they are written: auto or off.")
    ] = None,
    prefetch: Annotated[str | None, typer.Option(help="Fetch small files ahead: auto or off.")] = None,
    thumbnails: Annotated[str | None, typer.Option(help="Files that thumbnailers may download: small or all.")] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in the foreground and log to the terminal.")
    ] = False,
    log_file: Annotated[Path | None, typer.Option(help="Log file of the mount.")] = None,
    bwlimit: Annotated[
        str | None,
        typer.Option(metavar="RATE[:RATE]", help="Most content to send and fetch per second, as 1M or 500K:2M."),
    ] = None,
    log_level: LogLevelOption = None,
    verbose: VerboseOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")] = False,
    syslog: Annotated[bool | None, typer.Option("--syslog", help="Log to syslog as well.")] = None,
    options: Annotated[str, typer.Option("-o", help="More options of mount.fuse(8), such as allow_other.")] = "",
) -> None:
    """Mount containers as directories."""
    os.umask(os.umask(_PRIVATE) | _PRIVATE)  # new files are private to this user
    with reporting("mount"):
        from containerfs.config import load
        from containerfs.fuse.mount import check_answers
        from containerfs.mount.starting import become

        settings = load(
            url=url,
            local=local or None,
            profile=profile,
            data_dir=data_dir,
            cache_dir=cache_dir,
            cache_size=cache_size,
            metadata_expiry=metadata_expiry,
            patience=patience,
            container=container,
            expires_after=expires_after,
            keep_alive=keep_alive or None,
            keep_attributes=keep_attributes,
            write_back=write_back,
            read_only=read_only,
            inode32=inode32,
            streaming_uploads=streaming_uploads,
            prefetch=prefetch,
            thumbnails=thumbnails,
            log_file=log_file,
            bwlimit=bwlimit,
            log_level=options_of_logs(log_level, verbose=verbose, quiet=quiet),
            syslog=syslog,
        )
        check_answers(mountpoint)
        _check_places(settings, mountpoint)
        told = _told(settings, options, foreground=foreground)
        if foreground:
            become(mountpoint, told)
        _give(context.obj, told)
        _tell_of_others(mountpoint)


def _give(process: "Starting", told: "MountSettings") -> None:
    """Tell the process in the background what to mount, and wait until it has done so."""
    from containerfs.mount.starting import Ended

    assert told.log_file is not None
    before = told.log_file.stat().st_size
    try:
        word = process.give(told)
    except Ended as error:
        why = _words_of_libfuse(told.log_file, before) or f"{told.log_file} may say why"
        fail("mount", f"the mount ended with status {error.status}: {why}")
    if word.status:
        fail("mount", ": ".join(filter(None, [word.text, _words_of_libfuse(told.log_file, before)])), word.status)
    streams.tell(word.text)  # it is mounted, even if that fails


def _words_of_libfuse(log_file: Path, before: int) -> str:
    """Return what libfuse has written to the log since it had this size, in one line."""
    with log_file.open("rb") as file:
        file.seek(before)
        lines = [line.decode(errors="replace").strip() for line in file if line.startswith(_LIBFUSE)]
    return "; ".join(lines)


def _tell_of_others(mountpoint: Path) -> None:
    """Report what processes of detached mounts are still uploading."""
    with suppress(AskingError):  # it is already gone
        elsewhere = ask(mountpoint)["uploads"]["elsewhere"]
        for pid, files in itertools.groupby(elsewhere, lambda each: each["pid"]):
            names = ", ".join(each["name"] for each in files)
            typer.echo(f"Process {pid}, of another mount of this service, still uploads {names}")


def _check_places(settings: "Settings", mountpoint: Path) -> None:
    """Raise SettingsError if the mount's own files would be inside the mount."""
    from containerfs.config import SettingsError

    top = Path(os.path.realpath(mountpoint))
    for name in ("cache_dir", "data_dir", "log_file"):
        place = getattr(settings, name)
        if place is not None and Path(os.path.realpath(place)).is_relative_to(top):
            raise SettingsError(f"{name}: {place} is inside the mountpoint {mountpoint}: choose a directory elsewhere")


def _log_file(settings: "Settings") -> Path:
    """Return the log file of the mount. Raises SettingsError."""
    from containerfs.config import SettingsError

    log_file = Path(os.path.abspath(settings.log_file or settings.cache_dir / "mount.log"))
    try:
        settings.cache_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        log_file.open("ab").close()
    except OSError as error:
        setting = "log_file" if settings.log_file else "cache_dir"
        raise SettingsError(f"{setting}: {error.filename}: {error.strerror}") from error
    return log_file


def _told(settings: "Settings", fuse_options: str, *, foreground: bool) -> "MountSettings":
    """Return what the process that stays is told. Raises SettingsError."""
    from containerfs.cli.service import service_settings
    from containerfs.fs.options import Options
    from containerfs.fs.types import digest
    from containerfs.fuse.mount import kernel_expiry
    from containerfs.mount.settings import MountSettings

    service = service_settings(settings)
    options = Options(
        cache_dir=settings.cache_dir.absolute(),  # libfuse leaves the working directory
        cache_size=settings.cache_size,
        metadata_expiry=settings.metadata_expiry - kernel_expiry(settings.metadata_expiry),
        patience=settings.patience,
        container=settings.container,
        new_containers=_fields(settings),
        keep_alive=settings.keep_alive,
        keep_attributes=settings.keep_attributes,
        write_back=settings.write_back != "off",
        strict=settings.write_back == "strict",
        read_only=settings.read_only,
        streaming_uploads=settings.streaming_uploads == "auto",
        prefetch=settings.prefetch == "auto",
        all_thumbnails=settings.thumbnails == "all",
        up_limit=settings.bwlimit[0],
        down_limit=settings.bwlimit[1],
        account=digest(service.key) if service.key else "",
    )
    return MountSettings(
        service,
        options,
        metadata_expiry=settings.metadata_expiry,
        inode32=settings.inode32,
        fuse_options=fuse_options,
        foreground=foreground,
        log_file=settings.log_file if foreground else _log_file(settings),
        log_level=settings.log_level,
        syslog=settings.syslog,
    )


def _fields(settings: "Settings") -> dict[str, object]:
    """Return the fields of containers that the mount creates."""
    rule = settings.expires_after
    return {} if rule is None else {"expires_after": rule.model_dump(exclude_none=True)}
