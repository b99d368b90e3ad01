"""The command line: one module per family of commands."""

import typer

from containerfs.cli.keys import keys
from containerfs.cli.serve import serve

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(serve)
app.add_typer(keys, name="keys")


def main() -> None:
    app()
