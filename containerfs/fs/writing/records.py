"""What the journal holds: entries, attempts and deletions, as values."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pydantic import TypeAdapter

from containerfs.fs.namespace.attributes import Attributes
from containerfs.fs.types import RemoteFile


@dataclass(frozen=True, slots=True)
class Entry:
    """A path of a container should hold a content, and what it replaces has to go.

    Attributes:
        path: below the container.
        data: the name of the staged file; None if ``source`` is to be copied.
        source: the file of the service that has the content; None if ``data`` is set.
        replaces: the ids of the files that it replaces.
        size: of closed data, in bytes; None while a program writes it.
        digest: of closed data; None while a program writes it.
        error: why the last attempt failed; None if none failed.
        held: whether trying again without a change is pointless.
        stored: what the service made of it, while the rename that it belongs to is not complete.
        boot: the boot of this machine in which it was written, if the disk may not have it yet; None once it has.
        sequence: its place in the order of everything written; None until it is in the journal.
    """

    container_id: str
    container_name: str
    path: str
    data: str | None = None
    source: RemoteFile | None = None
    replaces: frozenset[str] = frozenset()
    attributes: Attributes = field(default_factory=Attributes)
    size: int | None = None
    digest: str | None = None
    error: str | None = None
    held: bool = False
    stored: RemoteFile | None = None
    boot: str | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request to store a content at a path that may have reached the service.

    Attributes:
        key: its idempotency key, which belongs to this content at this path.
        entry: the entry that it is for; None if nobody wants its result, so that what it left is to be removed.
        data: the name of the staged file; None for a copy by the service, and once the file is gone.
        source_id: the file that was to be copied, by the service or by an upload of what was fetched; None for an
            upload of what was written.
        digest: of the content; None until all of it was sent, and for copies by the service.
        started: in Unix seconds, by the service's clock.
        known: the ids of files that are not its result.
    """

    key: str
    container_id: str
    path: str
    size: int | None
    started: int
    entry: int | None = None
    data: str | None = None
    source_id: str | None = None
    digest: str | None = None
    known: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Deletion:
    """A file of the service that has to go."""

    container_id: str
    file_id: str


@dataclass(frozen=True, slots=True)
class SetAside:
    """An entry that is neither shown nor tried again until somebody decides.

    Attributes:
        name: ``CONTAINER/PATH``.
        data: the name of the staged file; None if there is none.
        reason: why it was set aside.
    """

    sequence: int
    name: str
    data: str | None
    reason: str


ENTRY_COLUMNS = (
    *("sequence", "container_id", "container_name", "path", "data", "source", "replaces", "attributes", "size"),
    *("digest", "error", "held", "stored", "boot"),
)
ATTEMPT_COLUMNS = (
    *("key", "container_id", "path", "size", "started", "entry", "data", "source_id", "digest", "known"),
)

_IDS = TypeAdapter(frozenset[str])
_FILE = TypeAdapter(RemoteFile)
_ATTRIBUTES = TypeAdapter(Attributes)
_ATTRIBUTE_NAMES = [field.name for field in fields(Attributes)]


def may_be_named(stored: str, asked: str) -> bool:
    """Tell whether a service may have stored under one path what was sent under another; some add to names."""
    (directory, _, name), (asked_directory, _, asked_name) = stored.rpartition("/"), asked.rpartition("/")
    return directory == asked_directory and asked_name in name


def encode_ids(ids: Iterable[str]) -> str:
    return json.dumps(sorted(ids))


def decode_ids(text: str) -> frozenset[str]:
    return _IDS.validate_json(text, strict=True)


def encode_file(file: RemoteFile | None) -> str | None:
    return None if file is None else json.dumps(asdict(file))


def encode_attributes(attributes: Attributes) -> str:
    values = {name: getattr(attributes, name) for name in _ATTRIBUTE_NAMES}
    return json.dumps({name: value for name, value in values.items() if value is not None})


def decode_entry(row: tuple[Any, ...]) -> Entry:
    """Return the entry in a row of ``ENTRY_COLUMNS``. Raises ValueError if it cannot be read."""
    values = dict(zip(ENTRY_COLUMNS, row, strict=True))
    return Entry(
        **values
        | {
            "source": _decode_file(values["source"]),
            "replaces": decode_ids(values["replaces"]),
            "attributes": _ATTRIBUTES.validate_json(values["attributes"], strict=True),
            "held": bool(values["held"]),
            "stored": _decode_file(values["stored"]),
        }
    )


def decode_attempt(row: tuple[Any, ...]) -> Attempt:
    """Return the attempt in a row of ``ATTEMPT_COLUMNS``. Raises ValueError if it cannot be read."""
    values = dict(zip(ATTEMPT_COLUMNS, row, strict=True))
    return Attempt(**values | {"known": decode_ids(values["known"])})


def _decode_file(text: str | None) -> RemoteFile | None:
    return None if text is None else _FILE.validate_json(text, strict=True)
