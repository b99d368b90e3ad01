"""``containerfs serve``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from containerfs.cli import descriptors

if TYPE_CHECKING:
    from containerfs.server.requests import ExpiryRule


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on. Any but this machine's own needs --api-keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.", min=0, max=65535)] = 8080,
    uds: Annotated[Path | None, typer.Option(help="Listen on this Unix socket instead.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where containers and files are kept.")] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Without keys, also answer requests for this name, a proxy's. Repeatable.")
    ] = None,
    api_keys: Annotated[Path | None, typer.Option(help="Key file, as written by 'containerfs keys'.")] = None,
    metrics: Annotated[
        str, typer.Option(help="Also serve the metrics, and nothing else, on this HOST:PORT, without keys.")
    ] = "",
    max_upload_size: Annotated[str, typer.Option(help="Largest file, as 512M or 2G; 0 is no limit.")] = "512M",
    default_expiry: Annotated[
        str,
        typer.Option(help="Idle time after which containers expire that were created without a rule, as 20m or 7d."),
    ] = "",
    access_log: Annotated[bool, typer.Option(help="Write a line of JSON per request to standard error.")] = True,
    timeout: Annotated[float, typer.Option(help="Longest pause within a request, in seconds.", min=0.1)] = 60,
    shutdown_timeout: Annotated[float, typer.Option(help="How long a stop waits for requests, in seconds.")] = 60,
    sweep_interval: Annotated[float, typer.Option(help="Seconds between sweeps.", min=0.1, hidden=True)] = 60,
    exit_with_stdin: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Serve the containers API from this machine."""
    # Imported here, so that the other commands start without a web server and a database.
    from containerfs.config import default_data_dir
    from containerfs.server.auth import KeyFileError
    from containerfs.server.listener import ListenError
    from containerfs.server.run import run
    from containerfs.server.settings import Limits, ServerSettings
    from containerfs.server.storage.base import StoreError

    settings = ServerSettings(
        data_dir=data_dir or default_data_dir(),
        host=host,
        port=port,
        uds=uds,
        allowed_hosts=tuple(allowed_host or ()),
        api_keys=api_keys,
        metrics=_address(metrics),
        limits=Limits(
            max_upload_size=_size(max_upload_size), receive_timeout=timeout, shutdown_timeout=shutdown_timeout
        ),
        default_expiry=_expiry(default_expiry),
        sweep_interval=sweep_interval,
        exit_with_stdin=exit_with_stdin,
        access_log=access_log,
    )
    descriptors.raise_limit()
    try:
        run(settings)
    except (ListenError, KeyFileError, StoreError) as error:
        typer.echo(f"containerfs serve: {error}", err=True)
        raise typer.Exit(1) from error


def _address(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"{text!r} is not an address like 127.0.0.1:9100", param_hint="--metrics")
    return host.strip("[]"), int(port)


def _size(text: str) -> int | None:
    from containerfs.config import parse_size

    try:
        return parse_size(text) or None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--max-upload-size") from error


def _expiry(text: str) -> "ExpiryRule | None":
    from containerfs.config import parse_span
    from containerfs.server.requests import ExpiryRule

    if not text:
        return None
    try:
        minutes, rest = divmod(parse_span(text), 60)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--default-expiry") from error
    if rest or not minutes:
        raise typer.BadParameter(f"{text!r} is not one or more whole minutes", param_hint="--default-expiry")
    return ExpiryRule(anchor="last_active_at", minutes=int(minutes))
