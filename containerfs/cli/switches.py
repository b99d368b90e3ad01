"""Options that may stand alone, and take a value after ``=`` only, as ``--write-back`` and ``--write-back=strict``.

click can do that; typer has no words for it.
"""

from typing import Any

from typer.core import TyperCommand

_ALONE = {"--write-back": "on"}  # the value of each where none is given


class CommandWithSwitches(TyperCommand):
    """A command that has such options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = args[: args.index("--")] if "--" in args else args
        given = [f"{word}={_ALONE[word]}" if word in _ALONE else word for word in options]
        return super().parse_args(ctx, given + args[len(options) :])
