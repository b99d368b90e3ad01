"""The command line: one module per family of commands.

Only the command that is called is imported and described to typer. For all of them that takes a fifth of the time of a
short command.
"""

import gc
import io
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from containerfs import __version__
from containerfs.cli.switches import CommandWithSwitches

_MODULES = {
    "mount": "mount",
    "unmount": "unmounting",
    "status": "status",
    "sync": "control",
    "refresh": "control",
    "ls": "listing",
    "get": "copying",
    "put": "copying",
    "cp": "copying",
    "rm": "changing",
    "info": "listing",
    "create": "changing",
    "rename": "changing",
    "doctor": "doctor",
    "serve": "serve",
    "migrate": "migrate",
    "backup": "backup",
    "recover": "recover",
    "keys": "keys",
}
"""The commands, and the module of this package in which each is."""


def command_line(names: Iterable[str] = _MODULES) -> typer.Typer:
    """Return the command line, with all commands or some."""
    app = typer.Typer(
        no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
    )
    app.callback()(_options)
    for name in names:
        command: Any = getattr(import_module(f"containerfs.cli.{_MODULES[name]}"), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name, cls=CommandWithSwitches)(command)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"containerfs {__version__}")
        raise typer.Exit


def _options(
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
    called = [name for name in sys.argv[1:2] if name in _MODULES]
    try:
        command_line(called or _MODULES)()
    except Exception as error:
        if "CONTAINERFS_DEBUG" in os.environ:
            raise
        from containerfs.mount.statuses import reason

        why = reason(error)
        is_plain = isinstance(error, OSError) or why != str(error)
        typer.echo(f"containerfs: {why if is_plain else f'{error!r}; CONTAINERFS_DEBUG=1 shows where'}", err=True)
        sys.exit(1)
