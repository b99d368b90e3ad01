"""``containerfs status``: what the mounts of this user are doing."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from containerfs.cli import wording
from containerfs.cli.asking import AskingError, Document, ask
from containerfs.cli.failure import fail, reporting
from containerfs.cli.options import JsonOption, mountpoint_argument, span

_ENDINGS = 5  # shown at most; --json has all of them


def status(
    mountpoint: Annotated[Path | None, mountpoint_argument("Without one: all mounts of this user.")] = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw until Ctrl-C.")] = False,
    interval: Annotated[str, typer.Option(metavar="TIME", help="Time between updates of --watch.")] = "1s",
) -> None:
    """Show what a mount is doing: uploads, downloads, failures and their reasons, and containers that end soon."""
    pause = span(interval, "--interval")
    with reporting("status"):
        if mountpoint is not None:
            _check(mountpoint)
        if watch:
            _watch(mountpoint, pause, as_json=as_json)
        elif as_json:
            typer.echo(json.dumps(_told(mountpoint)))
        else:
            typer.echo("\n".join(_shown(mountpoint)))


def _check(mountpoint: Path) -> None:
    from containerfs.fuse import table

    found = table.entry(mountpoint)
    if found is None or not found.is_ours:
        fail("status", f"{mountpoint} is not a mount of containerfs")


def _told(mountpoint: Path | None) -> Any:
    """Return the document of a mount, or those of all mounts."""
    return ask(mountpoint) if mountpoint is not None else list(_all())


def _shown(mountpoint: Path | None) -> list[str]:
    """Return the status of a mount, or of all mounts, as lines for people."""
    return describe(mountpoint, ask(mountpoint), time.time()) if mountpoint is not None else _table(list(_all()))


def _all() -> Iterator[Document]:
    """Return each mount of this user, with its status or the reason why there is none."""
    from containerfs.fuse import table

    for entry in table.entries():
        if entry.is_ours and entry.owner == os.geteuid():
            try:
                yield {"mountpoint": str(entry.path), **ask(entry.path)}
            except AskingError as error:
                yield {"mountpoint": str(entry.path), "error": str(error)}


def _watch(mountpoint: Path | None, pause: float, *, as_json: bool) -> None:
    """Redraw on a terminal; elsewhere, print one status after another."""
    if as_json or not sys.stdout.isatty():
        while True:
            typer.echo(json.dumps(_told(mountpoint)) if as_json else "\n".join([*_shown(mountpoint), ""]))
            time.sleep(pause)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            lines = (Text(line, no_wrap=True, overflow="ellipsis") for line in _shown(mountpoint))
            live.update(Text("\n").join(lines), refresh=True)
            time.sleep(pause)


def _table(mounts: list[Document]) -> list[str]:
    if not mounts:
        return ["Nothing is mounted: containerfs mount DIRECTORY"]
    return wording.columns([[wording.shown(each["mountpoint"]), *_summary(each)] for each in mounts])


def _summary(told: Document) -> list[str]:
    if "error" in told:
        return ["", "", f"{told['error']}; 'containerfs unmount' takes it away"]
    return [f"process {told['pid']}", _mounted(told), _uploads(told["uploads"])]


def describe(mountpoint: Path, told: Document, now: float) -> list[str]:
    """Return the status of a mount as lines for people."""
    cache, entries, uploads = told["cache"], told["entries"], told["uploads"]
    return [
        f"{_mounted(told)} on {wording.shown(str(mountpoint))}, process {told['pid']}",
        f"entries: {wording.counted(entries['containers'], 'container')}, {wording.counted(entries['files'], 'file')}"
        " looked at",
        f"cache: {wording.size(cache['bytes'])} of {wording.size(cache['budget'])},"
        f" {wording.counted(cache['entries'], 'file')}",
        f"uploads: {_uploads(uploads)}",
        *_indented([_upload(each) for each in uploads["files"]]),
        *_indented([_streaming(each) for each in uploads["streaming"]]),
        *_indented([_failure(each) for each in uploads["failed"]]),
        *_indented([_elsewhere(each) for each in uploads["elsewhere"]]),
        f"downloads: {len(told['downloads'])} under way",
        *_indented([_transfer(each, each["received"]) for each in told["downloads"]]),
        *_endings(told["endings"], now),
    ]


def _mounted(told: Document) -> str:
    """Describe what is mounted: a service, or one container of it."""
    container = told["container"]
    if container is None:
        return str(told["service"])
    ended = ", which has ended," if container["ended"] else ""
    return f"container {wording.shown(container['name'])} of {told['service']}{ended}"


def _uploads(uploads: Document) -> str:
    begun = sum(each["sent"] is not None for each in uploads["files"])
    under_way, waiting = begun + len(uploads["streaming"]), len(uploads["files"]) - begun
    return f"{under_way} under way, {waiting} waiting, {len(uploads['failed'])} failed"


def _upload(told: Document) -> list[str]:
    return _transfer(told, told["sent"]) if told["sent"] is not None else [*_name_and_size(told), "waiting"]


def _streaming(told: Document) -> list[str]:
    return [
        wording.shown(told["name"]),
        f"{wording.size(told['sent'])} so far",
        f"{wording.size(told['rate'])}/s",
        "while it is written",
    ]


def _transfer(told: Document, done: int) -> list[str]:
    name, size = _name_and_size(told)
    left = "" if told["seconds_left"] is None else f"{wording.span(told['seconds_left'])} left"
    return [name, f"{wording.size(done)} of {size}", f"{wording.size(told['rate'])}/s", left]


def _elsewhere(told: Document) -> list[str]:
    process = "another process" if told["pid"] is None else f"process {told['pid']}"
    return [*_name_and_size(told), f"uploaded by {process}, of another mount"]


def _failure(told: Document) -> list[str]:
    if told["retry_in"] is not None:
        when = f"tried again in {wording.span(told['retry_in'])}"
    else:
        when = "not tried again by itself"
    remedy = f": {told['remedy']}" if told["remedy"] else ""
    return [*_name_and_size(told), "failed", f"{wording.shown(told['reason'])}; {when}{remedy}"]


def _name_and_size(told: Document) -> list[str]:
    return [wording.shown(told["name"]), "?" if told["bytes"] is None else wording.size(told["bytes"])]


def _indented(rows: list[list[str]]) -> list[str]:
    """Return rows as lines below a heading, in columns if all rows have the same number."""
    width = max(map(len, rows), default=0)
    return [f"  {line.rstrip()}" for line in wording.columns([[*row, *[""] * (width - len(row))] for row in rows])]


def _endings(endings: list[Document], now: float) -> list[str]:
    to_come = [(wording.shown(each["container"]), each) for each in endings if each["ends_at"] > now]
    lines = [f"  {name} {wording.until(each['ends_at'], now)}{_unless(each)}" for name, each in to_come]
    more = [f"  and {len(lines) - _ENDINGS} more"] if len(lines) > _ENDINGS else []
    return ["containers that end:", *lines[:_ENDINGS], *more] if lines else []


def _unless(ending: Document) -> str:
    unless = ", unless it is used before" if ending["unless_used"] else ""
    return unless + ("; 'containerfs get -r' saves what is in it" if ending["soon"] else "")
