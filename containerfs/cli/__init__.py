"""The command line: one module per family of commands."""

import gc
import io
import os
import sys
from typing import Annotated

import typer

from containerfs import __version__
from containerfs.cli.backup import backup
from containerfs.cli.changing import create, rename, rm
from containerfs.cli.control import refresh, sync
from containerfs.cli.copying import cp, get, put
from containerfs.cli.doctor import doctor
from containerfs.cli.keys import keys
from containerfs.cli.listing import info, ls
from containerfs.cli.migrate import migrate
from containerfs.cli.mount import mount
from containerfs.cli.recover import recover
from containerfs.cli.serve import serve
from containerfs.cli.status import status
from containerfs.cli.switches import CommandWithSwitches
from containerfs.cli.unmounting import unmount


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"containerfs {__version__}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)
app.command(cls=CommandWithSwitches)(mount)
app.command()(unmount)
app.command()(status)
app.command()(sync)
app.command()(refresh)
for command in (ls, get, put, cp, rm, info, create, rename):
    app.command()(command)
app.command()(doctor)
app.command()(serve)
app.command()(migrate)
app.command()(backup)
app.add_typer(recover, name="recover")
app.add_typer(keys, name="keys")


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Containers as directories."""


def main() -> None:
    gc.freeze()  # what is imported stays: to look through it again and again takes a tenth of a short command
    # httpx would import its own command, and rich, click and pygments for it: a sixth of all that a mount imports.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    if isinstance(sys.stdout, io.TextIOWrapper):  # paths are bytes, and are printed as what they are
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        app()
    except Exception as error:
        if "CONTAINERFS_DEBUG" in os.environ:
            raise
        what = str(error) if isinstance(error, OSError) else f"{error!r}; CONTAINERFS_DEBUG=1 shows where"
        typer.echo(f"containerfs: {what}", err=True)
        sys.exit(1)
