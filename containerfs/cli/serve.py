"""``containerfs serve``."""

from pathlib import Path
from typing import Annotated

import typer

from containerfs.cli.failure import fail
from containerfs.mount.descriptors import raise_limit


def serve(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on. Anything but loopback needs --api-keys.", show_default="127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8080")
    ] = None,
    uds: Annotated[Path | None, typer.Option(help="Listen on this Unix socket instead.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of processes, for example one per processor.", show_default="1")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory for containers and files.")] = None,
    database: Annotated[
        str | None,
        typer.Option(help="Keep metadata in this database, postgresql://HOST/NAME.", metavar="URL", show_default=False),
    ] = None,
    blobs: Annotated[
        str | None,
        typer.Option(
            help="Keep contents there: s3://BUCKET/PREFIX, gs://, az:// or file:///DIRECTORY.",
            metavar="URL",
            show_default=False,
        ),
    ] = None,
    downloads: Annotated[
        str | None,
        typer.Option(
            help="'proxy' passes contents on from the object store; 'redirect' sends clients there.",
            show_default="proxy",
        ),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host", help="Without keys, also answer requests for this host name, for a proxy. Repeatable."
        ),
    ] = None,
    api_keys: Annotated[Path | None, typer.Option(help="Key file made by 'containerfs keys', or 'database'.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Also serve the metrics, and nothing else, on this HOST:PORT, without keys.")
    ] = None,
    max_upload_size: Annotated[
        str | None, typer.Option(help="Largest file, as 512M or 2G; 0 means no limit.", show_default="512M")
    ] = None,
    default_expiry: Annotated[
        str | None,
        typer.Option(help="Idle time after which containers without a rule expire, as 20m or 7d."),
    ] = None,
    access_log: Annotated[
        bool | None,
        typer.Option(
            "--access-log/--no-access-log",
            help="Log a line of JSON per request.",
            show_default="on",
        ),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Longest pause within a request or its answer.", show_default="60s")
    ] = None,
    shutdown_timeout: Annotated[
        str | None, typer.Option(help="How long a stop waits for requests under way.", show_default="60s")
    ] = None,
    sweep_interval: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the containers API from this machine."""
    # Imported here, so that the other commands start without a web server and a database.
    from containerfs.config import SettingsError
    from containerfs.server import settings
    from containerfs.server.auth import KeyFileError
    from containerfs.server.listener import ListenError
    from containerfs.server.run import run
    from containerfs.server.storage.failures import StoreError

    raise_limit()
    try:
        run(
            settings.load(
                host=host,
                port=port,
                uds=uds,
                workers=workers,
                data_dir=data_dir,
                database=database,
                blobs=blobs,
                downloads=downloads,
                allowed_hosts=allowed_hosts or None,
                api_keys=api_keys,
                metrics=metrics,
                max_upload_size=max_upload_size,
                default_expiry=default_expiry,
                timeout=timeout,
                shutdown_timeout=shutdown_timeout,
                sweep_interval=sweep_interval,
                access_log=access_log,
            )
        )
    except (SettingsError, ListenError, KeyFileError, StoreError) as error:
        fail("serve", str(error))
