"""Pages of the documentation site that are not in docs/: the README as the front page, the reference pages made
from the code, and the files of the repository that pages link to.

Source: https://www.mkdocs.org/user-guide/configuration/#hooks
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from containerfs.cli import command_line
from containerfs.cli.manual import ENVIRONMENT, FILES, STATUS, Page, pages
from containerfs.server.documentation import description

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and files that are not in docs/."""
    made = {
        "index.md": (ROOT / "README.md").read_text().replace("](docs/", "]("),
        "COMMANDS.md": "\n".join(_commands()),
        "API.md": f"# The API\n\n[The server](SERVER.md) says what it means.\n\n{description()}\n",
        "deploy/index.md": "\n".join(_deploy()),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    for path in [*ROOT.glob("*.md"), *(ROOT / "deploy").iterdir()]:
        if path.name != "README.md":
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave docs/ in the repository stay in the site."""
    if page.file.src_uri in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        return markdown.replace("](docs/", "](")
    return re.sub(r"\]\(\.\./deploy\)", "](deploy/index.md)", markdown).replace("](../", "](")


def _commands() -> Iterator[str]:
    yield "# Command reference\n\nMade from the commands: `containerfs COMMAND --help` says the same."
    for page in pages(command_line()):
        yield from _command(page)
    yield from _table("Exit status", STATUS)
    yield from _table("Environment", ENVIRONMENT)
    yield from _table("Files", FILES)


def _command(page: Page) -> Iterator[str]:
    yield f"\n## {page.name}\n"
    yield "\n\n".join(map(_escaped, [page.summary, *page.description]))
    yield f"\n    {page.name} {page.usage}\n"
    yield from _rows({f"[`{name}`](#{name.replace(' ', '-')})": summary for name, summary in page.commands.items()})
    yield from _rows({f"`{name}`": meaning for name, meaning in (page.arguments | page.options).items()})


def _table(title: str, entries: dict[str, str]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield from _rows({f"`{name}`": meaning for name, meaning in entries.items()})


def _rows(entries: dict[str, str]) -> Iterator[str]:
    if entries:
        yield "\n| | |\n|---|---|"
    for name, meaning in entries.items():
        yield f"| {_cell(name)} | {_cell(_escaped(meaning))} |"


def _deploy() -> Iterator[str]:
    yield "# Files for a server\n"
    for path in sorted((ROOT / "deploy").iterdir()):
        yield f"- [{path.name}]({path.name})"


def _escaped(text: str) -> str:
    """Text in which Markdown sees no markup."""
    return re.sub(r"([*_\[\]<])", r"\\\1", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
