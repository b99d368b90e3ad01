"""docs/TROUBLESHOOTING.md lists the messages that there are: all of the commands', and none that nobody says."""

import ast
import errno
import re
from collections.abc import Iterator
from pathlib import Path

from containerfs.fuse.errno import _ERRNO

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text()
SOURCES = ROOT / "containerfs"
COMMANDS = ["cli", "config.py", "units.py", "fuse/mount.py", "fuse/libfuse.py", "fuse/serving.py", "transfer"]
COMMANDS += ["fs/writing/recovery.py", "fs/open.py", "api/expiry.py", "server/run.py", "server/listener.py"]
COMMANDS += ["server/auth.py", "server/storage/open.py", "server/storage/backup.py", "server/settings.py"]
ANSWERS = {"Host", "Origin", "Give an API key, as 'Authorization: Bearer KEY'."}
"""What the server answers to requests."""


def literal(node: ast.expr) -> str | None:
    """A text, with an ellipsis for each value in it; None if it has no words of its own."""
    match node:
        case ast.Constant(value=str(text)):
            pass
        case ast.JoinedStr(values=values):
            text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in values)  # type: ignore[misc]
        case _:
            return None
    return re.sub("…+", "…", text) if re.search("[a-z]{2}", text) else None


def messages(*paths: str) -> Iterator[str]:
    """What the modules raise, and what commands fail with."""
    for path in paths:
        found = SOURCES / path
        for module in sorted(found.rglob("*.py")) if found.is_dir() else [found]:
            for node in ast.walk(ast.parse(module.read_text())):
                match node:
                    case ast.Raise(exc=ast.Call(args=[first, *_])):
                        words = [first]
                    case ast.Call(func=ast.Name(id="fail" | "complain"), args=[_, why, *_]):
                        words = [why]
                    case ast.Call(func=ast.Name(id="_fail" | "_refuse"), args=[why]):
                        words = [why]
                    case _:
                        words = []
                yield from filter(None, map(literal, words))


def documented() -> set[str]:
    before, _, _ = TEXT.partition("## Errors that programs see")
    return {re.sub(r"\\(.)", r"\1", code) for code in re.findall(r"^\| `((?:[^`\\]|\\.)+)` \|", before, re.MULTILINE)}


def test_every_message_in_the_list_exists() -> None:
    trees = [ast.parse(module.read_text()) for module in SOURCES.rglob("*.py")]
    existing = {literal(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr)}
    assert documented() - existing == set()


def test_every_message_of_the_commands_is_in_the_list() -> None:
    assert set(messages(*COMMANDS)) - documented() - ANSWERS == set()


def test_every_error_number_in_the_list_is_one_that_programs_may_see() -> None:
    listed = {getattr(errno, name) for name in re.findall(r"\((E[A-Z]+)\) \|", TEXT)}
    assert listed - {errno.ENOTCONN, errno.EPERM} <= set(_ERRNO.values())
