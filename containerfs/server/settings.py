"""The settings of a server: from flags, then the environment, then ``[serve]`` in the config file, then defaults."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from containerfs.config import ConfigFile, Size, Span, default_data_dir, validated
from containerfs.server.requests import ExpiryRule
from containerfs.units import parse_span


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. Sizes are in bytes, times in seconds; None means no limit.

    Attributes:
        max_upload_size: the largest file that is accepted.
        receive_timeout: the longest pause within a request, and the longest time for its head.
        keep_alive: how long a connection may be idle between requests.
        shutdown_timeout: how long a stop waits for requests that are being answered.
    """

    max_upload_size: int | None = 512 * 1024 * 1024
    receive_timeout: float = 60
    keep_alive: float = 75
    shutdown_timeout: float = 60


def _words(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{value!r} is not an address like 127.0.0.1:9100")
    return host.strip("[]"), int(port)


def _rule(value: object) -> object:
    if not isinstance(value, str):
        return value
    minutes, rest = divmod(parse_span(value), 60)
    if rest or not minutes:
        raise ValueError(f"{value!r} is not one or more whole minutes")
    return ExpiryRule(anchor="last_active_at", minutes=int(minutes))


KEYS_IN_DATABASE = Path("database")
"""The value of ``api_keys`` for keys in the database instead of a file."""

UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Address = Annotated[tuple[str, int], NoDecode, BeforeValidator(_address)]
Rule = Annotated[ExpiryRule, NoDecode, BeforeValidator(_rule)]


class ServerSettings(BaseSettings):
    """Where a server listens, where it keeps its store, and whom it serves.

    The names in the environment have the prefix ``CONTAINERFS_``. Sizes are in bytes, times in seconds.

    Attributes:
        host: the address to listen on.
        port: from 0 to 65535; 0 picks a free one.
        uds: a Unix socket to listen on instead.
        workers: the number of processes, from 1 to 256.
        data_dir: the directory of the store, except for what is kept elsewhere.
        database: the URL of a PostgreSQL database for the metadata.
        blobs: the URL of an object store or directory for the contents.
        downloads: whether to send contents, or redirect clients to the object store.
        allowed_hosts: further host names that a server without keys accepts on this machine.
        api_keys: the key file, or ``database``; None serves everybody who can reach the server.
        metrics: a host and port that serve the metrics and nothing else, without keys.
        max_upload_size: the largest file that is accepted; 0 for no limit.
        default_expiry: the rule for containers that are created without ``expires_after``.
        timeout: the longest pause within a request or its answer; at least 0.1.
        shutdown_timeout: how long a stop waits for requests that are being answered.
        sweep_interval: the time between sweeps; at least 0.1.
        access_log: whether to write one line of JSON for each request to standard error.
        embedded: whether this is the child of a mount: it ignores the environment and the config file, and stops when
            its standard input ends.
    """

    model_config = SettingsConfigDict(env_prefix="CONTAINERFS_", extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    uds: UserPath | None = None
    workers: int = Field(1, ge=1, le=256)
    data_dir: UserPath = Field(default_factory=default_data_dir)
    database: str | None = Field(None, repr=False)
    blobs: str | None = None
    downloads: Literal["proxy", "redirect"] = "proxy"
    allowed_hosts: Words = ()
    api_keys: UserPath | None = None
    metrics: Address | None = None
    max_upload_size: Size = 512 << 20
    default_expiry: Rule | None = None
    timeout: Span = Field(60, ge=0.1)
    shutdown_timeout: Span = Field(60, ge=0)
    sweep_interval: Span = Field(60, ge=0.1)
    access_log: bool = True
    embedded: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if init_settings().get("embedded"):
            return (init_settings,)
        return init_settings, env_settings, _ServeTable(settings_cls)

    @property
    def limits(self) -> Limits:
        return Limits(
            max_upload_size=self.max_upload_size or None,
            receive_timeout=self.timeout,
            shutdown_timeout=self.shutdown_timeout,
        )


class _ServeTable(ConfigFile):
    """``[serve]`` in the config file."""

    def __call__(self) -> dict[str, Any]:
        table: dict[str, Any] = self.read().get("serve", {})
        return table


def load(**flags: object) -> ServerSettings:
    """Load the settings.

    Args:
        flags: given on the command line; None for those that are not.

    Raises:
        SettingsError: if a setting is invalid. The message names it.
    """
    return validated(ServerSettings, flags)
