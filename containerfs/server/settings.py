"""The settings of a server: from flags, then the environment, then ``[serve]`` in the config file, then defaults."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from containerfs.config import ConfigFile, Size, Span, default_data_dir, validated
from containerfs.server.options import ServerOptions
from containerfs.server.requests import ExpiryRule
from containerfs.units import parse_span


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


UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Address = Annotated[tuple[str, int], NoDecode, BeforeValidator(_address)]
Rule = Annotated[ExpiryRule, NoDecode, BeforeValidator(_rule)]


class ServerSettings(BaseSettings):
    """What ``ServerOptions`` explains. The prefix of environment variables is ``CONTAINERFS_``."""

    model_config = SettingsConfigDict(env_prefix="CONTAINERFS_", extra="forbid", frozen=True)

    host: str = ServerOptions.host
    port: int = Field(ServerOptions.port, ge=0, le=65535)
    uds: UserPath | None = None
    workers: int = Field(ServerOptions.workers, ge=1, le=256)
    data_dir: UserPath = Field(default_factory=default_data_dir)
    database: str | None = Field(None, repr=False)
    blobs: str | None = None
    downloads: Literal["proxy", "redirect"] = ServerOptions.downloads
    allowed_hosts: Words = ServerOptions.allowed_hosts
    api_keys: UserPath | None = None
    metrics: Address | None = None
    max_upload_size: Size = ServerOptions.max_upload_size
    default_expiry: Rule | None = None
    timeout: Span = Field(ServerOptions.timeout, ge=0.1)
    shutdown_timeout: Span = Field(ServerOptions.shutdown_timeout, ge=0)
    sweep_interval: Span = Field(ServerOptions.sweep_interval, ge=0.1)
    access_log: bool = ServerOptions.access_log

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _ServeTable(settings_cls)


class _ServeTable(ConfigFile):
    """``[serve]`` in the config file."""

    def __call__(self) -> dict[str, Any]:
        table: dict[str, Any] = self.read().get("serve", {})
        return table


def load(**flags: object) -> ServerOptions:
    """The effective settings.

    Args:
        flags: those given on the command line; None for the others.

    Raises:
        SettingsError: a setting is invalid; the message names it.
    """
    settings = validated(ServerSettings, flags)
    return ServerOptions(**{name: getattr(settings, name) for name in ServerSettings.model_fields})
