"""The command line: one module per family of commands."""

import typer

from containerfs.cli.control import refresh, status, sync, unmount
from containerfs.cli.keys import keys
from containerfs.cli.mount import mount
from containerfs.cli.serve import serve

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.command()(mount)
app.command()(unmount)
app.command()(status)
app.command()(sync)
app.command()(refresh)
app.command()(serve)
app.add_typer(keys, name="keys")


def main() -> None:
    app()
