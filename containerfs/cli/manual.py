"""Man pages, made from the commands themselves: one for each, and one that lists them. Source: man-pages(7)."""

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from containerfs import __version__

_STATUS = {
    "0": "Done.",
    "1": "Failed; the line on standard error says why.",
    "2": "Wrong usage.",
    "3": "There is no such container or file, or nothing matches.",
    "4": "The service refuses the key.",
    "5": "The service does not answer.",
    "130": "Interrupted by Ctrl-C.",
}
_FILES = {
    "~/.config/containerfs/config.toml": "Settings, and profiles.",
    "~/.cache/containerfs": "Cached content, the journal of what is not uploaded yet, and local attributes.",
    "~/.local/share/containerfs/store": "The embedded store.",
}
_ENVIRONMENT = {
    "OPENAI_API_KEY, CONTAINERFS_API_KEY": "The API key.",
    "OPENAI_BASE_URL, CONTAINERFS_URL": "The service, up to and including /v1.",
    "CONTAINERFS_NAME": "The setting of that name, as CONTAINERFS_CACHE_DIR.",
}


def pages(app: typer.Typer) -> dict[str, str]:
    """The pages of an app's commands, as roff, by file name."""
    group: Any = get_command(app)
    context = group.make_context("containerfs", [], resilient_parsing=True)
    return {f"{name.replace(' ', '-')}.1": page for name, page in _pages("containerfs", group, context)}


def _pages(name: str, command: Any, context: Any) -> Iterator[tuple[str, str]]:
    """The page of a command, and those of the commands in it."""
    inner = {each: found for each, found in getattr(command, "commands", {}).items() if not found.hidden}
    yield name, "\n".join(_lines(name, command, context, inner)) + "\n"
    for each, found in inner.items():
        yield from _pages(f"{name} {each}", found, found.make_context(each, [], parent=context, resilient_parsing=True))


def _lines(name: str, command: Any, context: Any, inner: dict[str, Any]) -> Iterator[str]:
    title = name.replace(" ", "-")
    summary, _, more = (command.help or "").partition("\n\n")
    yield f'.TH "{title.upper()}" "1" "" "containerfs {__version__}" "containerfs"'
    yield from (".SH NAME", f"{_text(title)} \\- {_text(_joined(summary).rstrip('.'))}")
    yield from (".SH SYNOPSIS", f".B {_text(name)}", _text(" ".join(command.collect_usage_pieces(context))))
    yield ".SH DESCRIPTION"
    for paragraph in filter(None, [summary, *more.split("\n\n")]):
        yield from (".PP", _text(_joined(paragraph)))
    yield from _section("COMMANDS", {f"{name} {each}": found.get_short_help_str(200) for each, found in inner.items()})
    records = [(each.param_type_name, each.get_help_record(context)) for each in command.get_params(context)]
    for section, kind in (("ARGUMENTS", "argument"), ("OPTIONS", "option")):
        yield from _section(section, dict(record for found, record in records if found == kind and record))
    yield from _section("EXIT STATUS", _STATUS)
    yield from _section("ENVIRONMENT", _ENVIRONMENT)
    yield from _section("FILES", _FILES)
    outer = name.rpartition(" ")[0]
    others = [outer] if outer else []
    others += [f"{name} {each}" for each in inner]
    yield from (".SH SEE ALSO", ",\n".join(f".BR {_text(each.replace(' ', '-'))} (1)" for each in others))


def _section(title: str, entries: dict[str, str]) -> Iterator[str]:
    """A section of terms, each with what it means."""
    if entries:
        yield f".SH {title}"
    for term, meaning in entries.items():
        yield from (".TP", f".B {_text(term)}", _text(_joined(meaning)))


def _joined(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> str:
    """Text in which roff sees no commands. Source: groff_char(7)."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti")
    return re.sub(r"^([.'])", r"\\&\1", escaped)
