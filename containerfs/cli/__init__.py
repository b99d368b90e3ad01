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
from typer.core import TyperGroup

from containerfs import __version__
from containerfs.cli import streams

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


class _Group(TyperGroup):
    """The commands. One that wants to begin early gets its words before typer converts any: for that, it imports
    pydantic, which takes longer than everything before."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        command = self.get_command(ctx, args[0]) if args else None
        begin = getattr(command, "begin", None)
        if begin is not None and not ctx.resilient_parsing:
            ctx.obj = begin(type(ctx)(command, parent=ctx), args[1:])
        return super().parse_args(ctx, args)


def command_line(names: Iterable[str] = _MODULES) -> typer.Typer:
    """Return the command line, with all commands or some."""
    app = typer.Typer(
        cls=_Group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in names:
        module = import_module(f"containerfs.cli.{_MODULES[name]}")
        command: Any = getattr(module, name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name, cls=getattr(module, "Command", None))(command)
    return app


def _use_utf_8() -> None:
    """Start again in Python's UTF-8 mode if the locale has another encoding: names are UTF-8, here and on the service.
    Source: PEP 540."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


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
    streams.complete()
    _use_utf_8()
    gc.freeze()  # what is imported stays: to look through it again and again takes a tenth of a short command
    # httpx would import its own command, and rich, click and pygments for it: a sixth of all that a mount imports.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    if isinstance(sys.stdout, io.TextIOWrapper):  # paths are bytes, and are printed as what they are
        sys.stdout.reconfigure(errors="surrogateescape")
    called = [name for name in sys.argv[1:2] if name in _MODULES]
    try:
        try:
            command_line(called or _MODULES)()
        finally:
            streams.flush()
    except Exception as error:
        if "CONTAINERFS_DEBUG" in os.environ:
            raise
        from containerfs.mount.statuses import reason

        why = reason(error)
        is_plain = isinstance(error, OSError) or why != str(error)
        typer.echo(f"containerfs: {why if is_plain else f'{error!r}; CONTAINERFS_DEBUG=1 shows where'}", err=True)
        sys.exit(1)
    finally:
        gc.freeze()  # the interpreter would look through everything once more before it ends, for 30 ms of a mount's
