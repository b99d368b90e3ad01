"""The reference of the commands, generated from the commands themselves.

:mod:`containerfs.cli.roff` turns it into man pages, and the documentation site into a page of Markdown.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import typer
from typer.main import get_command

STATUS = {
    "0": "Done.",
    "1": "Failed; the line on standard error says why.",
    "2": "Wrong usage.",
    "3": "There is no such container or file, or nothing matches.",
    "4": "The service refuses the key.",
    "5": "The service does not answer.",
    "130": "Interrupted by Ctrl-C.",
}
FILES = {
    "~/.config/containerfs/config.toml": "Settings, and profiles.",
    "~/.cache/containerfs": "Cached content, the journal of what is not uploaded yet, and local attributes.",
    "~/.local/share/containerfs/store": "The embedded store.",
}
ENVIRONMENT = {
    "OPENAI_API_KEY, CONTAINERFS_API_KEY": "The API key.",
    "OPENAI_BASE_URL, CONTAINERFS_URL": "The service, up to and including /v1.",
    "CONTAINERFS_NAME": "The setting of that name, as CONTAINERFS_CACHE_DIR.",
}


@dataclass(frozen=True)
class Page:
    """The help of one command.

    Attributes:
        name: with the commands that it belongs to, as ``containerfs keys add``.
        usage: what follows the name on a command line.
        summary: one line.
        description: the paragraphs after it.
        commands: its commands, by their whole names, each with its summary.
        arguments: each with its help.
        options: each with its help.
    """

    name: str
    usage: str
    summary: str
    description: list[str]
    commands: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


def pages(app: typer.Typer) -> list[Page]:
    """Return the page of an app, followed by those of its commands."""
    group: Any = get_command(app)
    return list(_pages("containerfs", group, group.make_context("containerfs", [], resilient_parsing=True)))


def _pages(name: str, command: Any, context: Any) -> Iterator[Page]:
    inner = {each: found for each, found in getattr(command, "commands", {}).items() if not found.hidden}
    summary, _, more = (command.help or "").partition("\n\n")
    records = [(each.param_type_name, each.get_help_record(context)) for each in command.get_params(context)]
    yield Page(
        name,
        " ".join(command.collect_usage_pieces(context)),
        _joined(summary),
        [_joined(paragraph) for paragraph in more.split("\n\n") if paragraph],
        {f"{name} {each}": found.get_short_help_str(200) for each, found in inner.items()},
        {record[0]: _joined(record[1]) for kind, record in records if kind == "argument" and record},
        {record[0]: _joined(record[1]) for kind, record in records if kind == "option" and record},
    )
    for each, found in inner.items():
        yield from _pages(f"{name} {each}", found, found.make_context(each, [], parent=context, resilient_parsing=True))


def _joined(text: str) -> str:
    return " ".join(text.split())
