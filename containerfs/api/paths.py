"""URL paths of the API, and the names of a container's files in a directory.

Invariants: an id never leaves its path segment, whatever it contains. An encoded name from a server is a legal file
name: not empty, not ``.`` or ``..``, without ``/`` and NUL, and valid UTF-8. ``decode_name`` undoes ``encode_name``.
"""

import re
from urllib.parse import quote, unquote

DATA_ROOT = "/mnt/data/"
"""The directory of a container's files, as programs in the container see it. Source: the published spec, ``path``."""

NAME_MAX_BYTES = 255
"""The longest file name on Linux, in bytes. Source: limits.h, NAME_MAX."""


def url_path(template: str, **ids: str) -> str:
    """Fill ids into a URL template, percent-encoded: ``url_path("/containers/{id}", id="cntr_1")``.

    Raises:
        ValueError: if an id is empty, or a proxy that decodes and normalises paths would leave its segment
            (``a/../b``).
    """
    for name, value in ids.items():
        if not value:
            raise ValueError(f"Expected a non-empty value for `{name}` but received {value!r}")
        if any(segment in (".", "..") for segment in re.split(r"[/\\]", _decoded(value))):
            raise ValueError(f"`{name}` must not hold '.' or '..' as a segment: {value!r}")
    return template.format_map({name: quote(value, safe="") for name, value in ids.items()})


def _decoded(value: str) -> str:
    """Return a value as it is after the last proxy has decoded it."""
    while (decoded := unquote(value)) != value:
        value = decoded
    return value


# Characters that file names cannot contain are shown as rare lookalikes. A lookalike that a name really contains is
# quoted. (Percent signs would be simpler, but names like "a%2Fb" are common: every URL that was saved to disk.)
_QUOTE = "\u29f7"
_DOT, _NOTHING = "\u2024", "\u2422"
_WHOLE = {"": _NOTHING, ".": _DOT, "..": _DOT * 2}
_WHOLE_DECODED = {entry: name for name, entry in _WHOLE.items()}


class _Names:
    """How names become directory entries, and back.

    Args:
        lookalikes: by the character that they stand for, which no entry may contain.
    """

    def __init__(self, lookalikes: dict[str, str]) -> None:
        special = (_QUOTE, *lookalikes.values())
        self._encoded = str.maketrans({**lookalikes, **{character: _QUOTE + character for character in special}})
        self._entry = re.compile(f"{_QUOTE}(.)|([{''.join(lookalikes.values())}])", re.DOTALL)
        self._meaning = {lookalike: character for character, lookalike in lookalikes.items()}

    def encode(self, name: str) -> str:
        if name in _WHOLE:
            return _WHOLE[name]
        if name in _WHOLE_DECODED:
            return _QUOTE + name
        return name.translate(self._encoded).encode("utf-8", "replace").decode()

    def decode(self, entry: str) -> str:
        if entry in _WHOLE_DECODED:
            return _WHOLE_DECODED[entry]
        if entry[:1] == _QUOTE and entry[1:] in _WHOLE_DECODED:
            return entry[1:]
        name = self._entry.sub(lambda match: match[1] or self._meaning[match[2]], entry)
        return name if self.encode(name) == entry else entry


_ANY = _Names({"/": "\u29f8", "\0": "\u2400"})
_SEGMENTS = _Names({"\0": "\u2400"})
"""A slash ends a segment, so its lookalike stands for itself here."""


def encode_name(name: str) -> str:
    """Return the directory entry for a name from a server: illegal characters become lookalikes, and all others are
    kept.

    The result may still be longer than ``NAME_MAX_BYTES``; what to do then depends on the other entries of the
    directory.
    """
    return _ANY.encode(name)


def decode_name(entry: str) -> str:
    """Return the name on the server that a directory entry stands for, the inverse of ``encode_name``.

    An entry that no name is encoded to stands for itself.
    """
    return _ANY.decode(entry)


def relative_path(container_path: str, data_root: str = DATA_ROOT) -> str:
    """Return a file's path below the mounted container, from the ``path`` that the service gives.

    ``/mnt/data/a/b.txt`` becomes ``a/b.txt``. Every segment is encoded, so that the result never leads out of the
    directory.
    """
    inner = container_path.removeprefix(data_root)
    return "/".join(map(_SEGMENTS.encode, inner.split("/")))


def upload_name(relative: str) -> str:
    """Return the file name to upload a path below the mounted container with, the inverse of ``relative_path``."""
    return "/".join(map(_SEGMENTS.decode, relative.split("/")))
