"""The bodies and queries that the service accepts, and what they may contain.

The models of the wire tolerate what other services send. These refuse invalid values in known fields, and ignore
unknown fields, because programs may be newer than this server.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from containerfs.api.models import Order

SECONDS = {"days": 86400, "minutes": 60}

_MAX_SPAN = {"days": 36500, "minutes": 36500 * 1440}


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


WITHOUT_NUL = {"pattern": r"^[^\u0000]*$"}
"""What ``_without_nul`` accepts, for the description of the service."""

Text = Annotated[str, Field(min_length=1, max_length=1024, json_schema_extra=WITHOUT_NUL), AfterValidator(_without_nul)]
Id = Text


def _whole(number: Any) -> Any:
    """Return the integer that a float is, if it is one: to JSON, 5 and 5.0 are the same number."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


class Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class ExpiryRule(Body):
    """A time span after an anchor: exactly one of ``days`` (1 to 36500) and ``minutes`` (1 to as long)."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": [unit], "properties": {unit: {"type": "integer"}}} for unit in SECONDS]
        }
    )
    anchor: Literal["created_at", "last_active_at"]
    days: int | None = Field(None, ge=1, le=_MAX_SPAN["days"])
    minutes: int | None = Field(None, ge=1, le=_MAX_SPAN["minutes"])

    _whole = field_validator("days", "minutes", mode="before")(_whole)

    @model_validator(mode="after")
    def _one_span(self) -> "ExpiryRule":
        if (self.days is None) == (self.minutes is None):
            raise ValueError("give either 'days' or 'minutes'")
        return self

    @property
    def unit(self) -> Literal["days", "minutes"]:
        return "days" if self.days is not None else "minutes"

    @property
    def span(self) -> int:
        return self.days or self.minutes or 0


class DomainSecret(Body):
    """A secret for code that runs in a container. It is checked and then dropped, because this server runs no code."""

    domain: str = Field(min_length=1)
    name: str = Field(min_length=1)
    value: str = Field(min_length=1)


class NetworkPolicyRequest(Body):
    """The hosts that a container's code may reach, and secrets for them, which are never stored or returned."""

    type: Literal["disabled", "allowlist"]
    allowed_domains: list[str] | None = None
    domain_secrets: list[DomainSecret] | None = Field(None, exclude=True)


class CreateContainer(Body):
    """The body of ``POST /containers``."""

    name: Text
    file_ids: list[Id] | None = Field(None, max_length=1000)
    expires_after: ExpiryRule | None = None
    memory_limit: Literal["1g", "4g", "16g", "64g"] | None = None
    network_policy: NetworkPolicyRequest | None = None
    skills: list[Any] | None = None


class RenameContainer(Body):
    """The body of ``POST /containers/{id}``, an extension of this server."""

    name: Text


_MAX_ID, _MAX_TIME_NS = 2**32 - 2, 2**66


class Attributes(Body):
    """Attributes that a client keeps with a file, an extension of this server.

    Attributes:
        mode: permission bits, from 0 to 0o7777.
        uid: user id of the owner, from 0 to 2**32 - 2.
        gid: group id of the owner, from 0 to 2**32 - 2.
        mtime_ns: time of the last change, in nanoseconds since 1970.
    """

    mode: int | None = Field(None, ge=0, le=0o7777)
    uid: int | None = Field(None, ge=0, le=_MAX_ID)
    gid: int | None = Field(None, ge=0, le=_MAX_ID)
    mtime_ns: int | None = Field(None, ge=-_MAX_TIME_NS, le=_MAX_TIME_NS)

    _whole = field_validator("mode", "uid", "gid", "mtime_ns", mode="before")(_whole)


class UpdateFile(Body):
    """The body of ``POST /containers/{id}/files/{id}``, an extension of this server. It replaces all attributes."""

    attributes: Attributes


class CopyFile(Body):
    """The body of ``POST /containers/{id}/files`` as JSON. All fields but ``file_id`` are extensions of this server."""

    file_id: Id
    path: str | None = Field(None, json_schema_extra={"minLength": 1, "pattern": "^[^/]"})
    attributes: Attributes | None = None


class Listing(BaseModel):
    """The query of a listing."""

    limit: int = Field(20, ge=1, le=100)
    order: Order = "desc"
    after: str | None = Field(None, min_length=1)


class FileListing(Listing):
    """The query of ``GET /files``. Its pages are larger, as published."""

    limit: int = Field(10_000, ge=1, le=10_000)


class FileExpiry(BaseModel):
    """``expires_after`` of ``POST /files``: 3,600 to 2,592,000 seconds (an hour to 30 days), as published."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2592000)
