"""All settings, typed, in one place: from flags, then the environment, then the config file, then defaults.

The config file is TOML. Settings at its top apply everywhere, those under ``[profiles.NAME]`` replace them in a
profile, and ``[serve]`` has those of a server (``server.settings``). The API key comes from the environment, a file or
a command, but never from a flag, because everybody on the machine can see command lines.
"""

import difflib
import functools
import os
import shlex
import subprocess
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from platformdirs import user_cache_path, user_config_path, user_data_path
from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from containerfs.api.dialect import AuthHeader
from containerfs.api.errors import ContainerFSError
from containerfs.api.rules import ExpiresAfter, parse_rule
from containerfs.units import parse_rates, parse_size, parse_span

S = TypeVar("S", bound=BaseSettings)

OPENAI_URL = "https://api.openai.com/v1"

_TABLES = ("profiles", "serve")  # of the config file
_KEYRING_USER = "api-key"
_COMMAND_LIMIT = 120.0  # seconds; it may ask for a passphrase
_SWITCH = {"true": "on", "1": "on", "yes": "on", "false": "off", "0": "off", "no": "off"}


class SettingsError(ContainerFSError):
    """A setting is invalid. The message names it."""


def parse_write_back(text: object) -> object:
    """Parse ``on``, ``off`` or ``strict``; other words for true and false mean the first two."""
    word = str(text).strip().lower()
    return _SWITCH.get(word, word)


def default_data_dir() -> Path:
    """Return the default directory of the embedded store and of servers."""
    return user_data_path("containerfs") / "store"


def _rates(value: object) -> object:
    """Defaults are validated, too, and need not be text."""
    return value if isinstance(value, tuple) else parse_rates(value)


WriteBack = Annotated[Literal["off", "on", "strict"], BeforeValidator(parse_write_back)]
Size = Annotated[int, BeforeValidator(parse_size)]
Expiry = Annotated[ExpiresAfter, BeforeValidator(parse_rule)]
Rates = Annotated[tuple[int, int], NoDecode, BeforeValidator(_rates)]
Span = Annotated[float, BeforeValidator(parse_span)]


def _names(*names: str) -> AliasChoices:
    return AliasChoices(names[0], *names[1:])


class Settings(BaseSettings):
    """All settings. Environment variables have the prefix ``CONTAINERFS_``; ``OPENAI_*`` variables work too.

    Attributes:
        url: the service, up to and including ``/v1``.
        local: use the embedded store, whatever else is set.
        profile: a section of the config file.
        api_key, api_key_file, api_key_command: the key, a file that holds it, or a command that prints it.
        api_key_keyring: ``SERVICE/USER`` under which the system's keyring has it.
        auth_header: how the key is sent: ``bearer``, or ``api-key`` for Azure.
        ca_file: PEM file with the certificate authorities to trust, instead of the system's.
        default_headers: sent with every request, for gateways that need them.
        default_query: sent with every request, as ``{"api-version": "..."}``.
        data_dir: directory of the embedded store.
        cache_dir: directory for the content cache, the journal and local attributes.
        cache_size: most bytes of content to keep.
        metadata_expiry: seconds for which a listing is trusted.
        patience: seconds for which operations wait for a service that does not answer.
        write_back: when close() returns: ``off``: once the service has the file; ``on``: once a crash of the mount does
            not lose it, and a second later none of this machine does; ``strict``: once neither does.
        read_only: whether to refuse every change.
        expires_after: when containers created by ``mkdir`` end; the service decides if it is not set.
        container: name or id of the container to mount as the root, instead of all containers.
        keep_attributes: whether to store modes, owners, times and empty directories in a file of each container, where
            the service has no other place for them.
        keep_alive: names or ids of containers to keep alive while they are mounted.
        inode32: whether to use 32-bit inode numbers, for programs that need them.
        streaming_uploads: whether to begin to upload large files while they are written, where that is safe.
        prefetch: whether to fetch files that will probably be read next.
        thumbnails: whether thumbnailers get all files, or only ``small`` ones and those that are on this machine.
        log_file: log of a mount in the background; in ``cache_dir`` by default.
        log_level: lowest level to log.
        bwlimit: most bytes of content to send and fetch per second; 0 means no limit.
        syslog: whether to log to syslog as well.
    """

    model_config = SettingsConfigDict(env_prefix="CONTAINERFS_", extra="ignore", populate_by_name=True)

    url: str | None = Field(None, validation_alias=_names("url", "CONTAINERFS_URL", "OPENAI_BASE_URL"))
    local: bool = False
    profile: str | None = None
    api_key: SecretStr | None = Field(None, validation_alias=_names("api_key", "CONTAINERFS_API_KEY", "OPENAI_API_KEY"))
    api_key_file: Path | None = None
    api_key_command: str | None = None
    api_key_keyring: str | None = None
    organization: str | None = Field(None, validation_alias=_names("organization", "OPENAI_ORG_ID"))
    project: str | None = Field(None, validation_alias=_names("project", "OPENAI_PROJECT_ID"))
    auth_header: AuthHeader = "bearer"
    ca_file: Path | None = None
    default_headers: dict[str, str] = Field({}, repr=False)
    default_query: dict[str, str] = {}
    data_dir: Path = Field(default_factory=default_data_dir)
    cache_dir: Path = Field(default_factory=lambda: user_cache_path("containerfs"))
    cache_size: Size = 10 << 30
    metadata_expiry: Span = 10.0
    patience: Span = Field(13.0, gt=0)
    write_back: WriteBack = "off"
    read_only: bool = False
    expires_after: Expiry | None = None
    container: str | None = None
    keep_attributes: bool = False
    keep_alive: list[str] = []
    inode32: bool = False
    streaming_uploads: Literal["auto", "off"] = "auto"
    prefetch: Literal["auto", "off"] = "auto"
    thumbnails: Literal["small", "all"] = "small"
    log_file: Path | None = None
    bwlimit: Rates = (0, 0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    syslog: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _Profile(settings_cls)

    @property
    def service_url(self) -> str | None:
        """The URL of the service; None for the embedded store. Raises SettingsError if it is not a URL."""
        if self.local:
            return None
        if self.url:
            return _with_version(self.url)
        return OPENAI_URL if self.key else None

    @property
    def key(self) -> str | None:
        """Return the API key. Raises SettingsError if its file cannot be read, or its command fails."""
        if self.api_key is not None:
            return self.api_key.get_secret_value() or None
        if self.api_key_file is None:
            return self._asked_for
        try:
            return self.api_key_file.expanduser().read_text().strip()
        except OSError as error:
            raise SettingsError(f"api_key_file: {self.api_key_file}: {error.strerror}") from error

    @property
    def _asked_for(self) -> str | None:
        """Return the key from a command or the keyring."""
        if self.api_key_command is not None:
            return _printed(self.api_key_command)
        return None if self.api_key_keyring is None else _kept(self.api_key_keyring)


def _kept(entry: str) -> str:
    """Return the key that the system's keyring has under ``SERVICE/USER``. Raises SettingsError."""
    try:
        import keyring
    except ImportError:
        raise SettingsError("api_key_keyring: install the library: pip install 'containerfs[keyring]'") from None
    from keyring.errors import KeyringError

    service, _, user = entry.partition("/")
    try:
        key = keyring.get_password(service, user or _KEYRING_USER)
    except KeyringError as error:
        raise SettingsError(f"api_key_keyring: {error}") from error
    if not key:
        what = f"the keyring has nothing for {service}"
        raise SettingsError(f"api_key_keyring: {what}: keyring set {service} {user or _KEYRING_USER}")
    return key


def _with_version(url: str) -> str:
    """Return the URL of a service, with ``/v1`` if it only names a host. Raises SettingsError if it is not a URL."""
    try:
        return url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1"
    except ValueError as error:
        raise SettingsError(f"url: {error}") from None


@functools.cache  # it may ask for a passphrase
def _printed(command: str) -> str:
    """Return the first line that a command prints. Raises SettingsError, whose message never contains the output."""
    try:
        done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, text=True, timeout=_COMMAND_LIMIT)
    except (OSError, ValueError) as error:
        raise SettingsError(f"api_key_command: {getattr(error, 'strerror', None) or error}: {command}") from error
    except subprocess.TimeoutExpired:
        raise SettingsError(f"api_key_command: did not finish within {_COMMAND_LIMIT:g} s: {command}") from None
    key = done.stdout.partition("\n")[0].strip()
    if done.returncode or not key:
        what = f"ended with status {done.returncode}" if done.returncode else "has printed nothing"
        raise SettingsError(f"api_key_command: {what}: {command}")
    return key


def load(**flags: object) -> Settings:
    """Load the settings.

    Args:
        flags: given on the command line; None for those that are not.

    Raises:
        SettingsError: if a setting is invalid. The message names it.
    """
    return validated(Settings, flags)


def origins(settings: Settings, flags: Mapping[str, object]) -> dict[str, str]:
    """Return where each setting that is not a default comes from: a flag, a variable or the config file."""
    variables = {name.upper(): name for name in os.environ}
    found = {}
    for name in sorted(settings.model_fields_set):
        alias = Settings.model_fields[name].validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [f"CONTAINERFS_{name}"]
        known = [variables[str(each).upper()] for each in names if str(each).upper() in variables and each != name]
        if flags.get(name) is not None:
            found[name] = f"--{name.replace('_', '-')}"
        else:
            found[name] = known[0] if known else str(config_file())
    return found


def config_file() -> Path:
    """Return the path of the config file, if there is one."""
    return user_config_path("containerfs") / "config.toml"


def validated(kind: type[S], flags: Mapping[str, object]) -> S:
    """Load settings of a kind from flags and its other sources. Raises SettingsError."""
    try:
        return kind(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from error


class ConfigFile(PydanticBaseSettingsSource, ABC):
    """A part of the config file."""

    @property
    def path(self) -> Path:
        return config_file()

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    @abstractmethod
    def __call__(self) -> dict[str, Any]: ...

    def read(self) -> dict[str, Any]:
        """Return the whole file; empty if there is none. Raises SettingsError."""
        try:
            return tomllib.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:  # the latter if it is not TOML, or not even text
            raise SettingsError(f"{self.path}: {error}") from error


class _Profile(ConfigFile):
    """The settings at the top of the file, and those of the selected profile."""

    def __call__(self) -> dict[str, Any]:
        settings = self.read()
        profiles = settings.get("profiles", {})
        for table in _TABLES:
            settings.pop(table, None)
        self._check(settings, "")
        for name, profile in profiles.items():
            self._check(profile, f" (in [profiles.{name}])")
        name = self.current_state.get("profile") or settings.get("profile")
        if not name:
            return settings
        if name not in profiles:
            raise SettingsError(f"profile: there is no [profiles.{name}] in {self.path}")
        return settings | dict(profiles[name])

    def _check(self, names: Iterable[str], where: str) -> None:
        """Raise SettingsError if a name is not a setting."""
        known = self.settings_cls.model_fields
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; do you mean {near[0]}?" if near else ""
                raise SettingsError(f"{self.path}: there is no setting {name}{where}{hint}")
