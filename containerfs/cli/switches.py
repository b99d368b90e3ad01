"""Options that may have no value, and take one only after ``=``, as ``--write-back`` and ``--write-back=strict``.

click supports this; typer does not expose it.
"""

from typing import Any

from typer.core import TyperCommand

_ALONE = {"--write-back": "on"}  # the value of each if none is given


class CommandWithSwitches(TyperCommand):
    """A command with such options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self.expanded(args))

    @staticmethod
    def expanded(args: list[str]) -> list[str]:
        """Give a value to each such option that has none."""
        options = args[: args.index("--")] if "--" in args else args
        given = [f"{word}={_ALONE[word]}" if word in _ALONE else word for word in options]
        return given + args[len(options) :]
