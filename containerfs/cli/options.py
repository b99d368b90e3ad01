"""Options that several commands share, each with one name and one help text."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from containerfs.cli.failure import reporting
from containerfs.units import parse_span

if TYPE_CHECKING:
    from containerfs.config import Settings

_SERVICE = "Service"

UrlOption = Annotated[str | None, typer.Option(help="The service, up to and including /v1.", rich_help_panel=_SERVICE)]
LocalOption = Annotated[
    bool,
    typer.Option("--local", help="Use the embedded store, whatever the environment says.", rich_help_panel=_SERVICE),
]
ProfileOption = Annotated[str | None, typer.Option(help="Profile in the config file to use.", rich_help_panel=_SERVICE)]
DataDirOption = Annotated[Path | None, typer.Option(help="Directory of the embedded store.", rich_help_panel=_SERVICE)]
CacheDirOption = Annotated[
    Path | None, typer.Option(help="Directory for the content cache, the journal and local attributes.")
]
ExpiresAfterOption = Annotated[
    str | None,
    typer.Option(
        "--expires-after",
        metavar="TIME",
        help="When a new container ends: 7d after its creation, or 20m or 12h after its last use.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RecursiveOption = Annotated[
    bool, typer.Option("--recursive", "-r", help="Include directories with everything in them.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")]
ParallelOption = Annotated[
    int, typer.Option("--parallel", "-p", min=1, max=64, metavar="N", help="Files to transfer at a time.")
]


LogLevelOption = Annotated[
    str | None,
    typer.Option(metavar="LEVEL", help="Lowest level to log: debug, info, warning or error.", show_default="info"),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")]


def options_of_logs(level: str | None, *, verbose: bool, quiet: bool) -> str | None:
    """Return the requested level; None if there is none."""
    if level is not None:
        return level
    return "debug" if verbose else "warning" if quiet else None


def absolute(text: str) -> Path:
    """Parse a mountpoint. Unlike click's own type, this does not access what is mounted there, which may hang."""
    try:
        return Path(os.path.abspath(text))
    except FileNotFoundError:
        raise typer.BadParameter("the working directory was deleted: give an absolute path") from None


def mountpoint_argument(help_text: str) -> Any:
    """Return an argument that names a mountpoint; its value is absolute."""
    return typer.Argument(parser=absolute, metavar="MOUNTPOINT", help=help_text)


MountpointArgument = Annotated[Path, mountpoint_argument("Where it is mounted.")]


def _service(
    url: UrlOption = None, local: LocalOption = False, profile: ProfileOption = None, data_dir: DataDirOption = None
) -> "Settings":
    from containerfs.config import load

    return load(url=url, local=local or None, profile=profile, data_dir=data_dir)


def on_service(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for choosing a service; the command gets the settings as ``settings``.

    Errors that containerfs raises end the command with one line.
    """
    own = list(inspect.signature(command).parameters.values())[1:]
    common = list(inspect.signature(_service).parameters.values())
    names = [parameter.name for parameter in common]

    def run(**arguments: Any) -> None:
        with reporting(command.__name__):
            command(_service(**{name: arguments.pop(name) for name in names}), **arguments)

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *common)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    return run


def span(text: str, option: str) -> float:
    """Return the value of an option in seconds. Raises BadParameter, which names the option."""
    try:
        return parse_span(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
