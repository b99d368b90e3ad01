"""Man pages. Source: man-pages(7), groff_man(7)."""

import re
from collections.abc import Iterator

from containerfs import __version__
from containerfs.cli.manual import ENVIRONMENT, FILES, STATUS, Page


def man_pages(pages: list[Page]) -> dict[str, str]:
    """Return the man page of each command, by file name."""
    return {f"{page.name.replace(' ', '-')}.1": "\n".join(_lines(page)) + "\n" for page in pages}


def _lines(page: Page) -> Iterator[str]:
    title = page.name.replace(" ", "-")
    yield f'.TH "{title.upper()}" "1" "" "containerfs {__version__}" "containerfs"'
    yield from (".SH NAME", f"{_text(title)} \\- {_text(page.summary.rstrip('.'))}")
    yield from (".SH SYNOPSIS", f".B {_text(page.name)}", _text(page.usage))
    yield ".SH DESCRIPTION"
    for paragraph in filter(None, [page.summary, *page.description]):
        yield from (".PP", _text(paragraph))
    yield from _section("COMMANDS", page.commands)
    yield from _section("ARGUMENTS", page.arguments)
    yield from _section("OPTIONS", page.options)
    yield from _section("EXIT STATUS", STATUS)
    yield from _section("ENVIRONMENT", ENVIRONMENT)
    yield from _section("FILES", FILES)
    outer = page.name.rpartition(" ")[0]
    others = [*([outer] if outer else []), *page.commands]
    yield from (".SH SEE ALSO", ",\n".join(f".BR {_text(each.replace(' ', '-'))} (1)" for each in others))


def _section(title: str, entries: dict[str, str]) -> Iterator[str]:
    """Return a section of terms with their explanations."""
    if entries:
        yield f".SH {title}"
    for term, meaning in entries.items():
        yield from (".TP", f".B {_text(term)}", _text(meaning))


def _text(text: str) -> str:
    """Escape text so that roff sees no commands in it. Source: groff_char(7)."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti")
    return re.sub(r"^([.'])", r"\\&\1", escaped)
