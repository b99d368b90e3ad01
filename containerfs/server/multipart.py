"""``multipart/form-data`` parsed as it streams: the file goes to a blob, everything else must be small.

Source: RFC 7578; names as RFC 5987 (``filename*``), the WHATWG's form encoding (``%22``, ``%0D``, ``%0A``) and
quoted strings (``\\\\"``) write them.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from blake3 import blake3
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from containerfs.server.errors import InvalidRequest, TooLarge
from containerfs.server.storage.blob_store import BlobWriter

_FIELDS_MAX_BYTES = 64 * 1024
"""For all fields except the file together, and for the headers of all parts together."""

_PARTS_MAX = 64

_FILE_FIELD = "file"

ATTRIBUTES_FIELD = "attributes"
"""Not part of the digest: a repeated request may carry other attributes, and changes nothing."""


@dataclass(slots=True)
class Form:
    """The contents of a form.

    Attributes:
        fields: its fields, without the file.
        filename: the name of its file; None if it has no file.
        ambiguous: whether the client may have meant another name that is escaped in the same way.
        digest: of its fields, file name and file content, without attributes; "" if it was not asked for.
    """

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    ambiguous: bool = False
    digest: str = ""


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a multipart content type names.

    Raises:
        InvalidRequest: if there is none, or it is not a legal one.
    """
    parameters = _parameters(content_type.encode("latin-1", "replace"))
    boundary = parameters.get("boundary", b"")
    if not 0 < len(boundary) <= 70 or boundary.strip() != boundary:
        raise InvalidRequest("The multipart body has no valid boundary.", code="invalid_multipart")
    return boundary


async def read_form(
    chunks: AsyncIterator[bytes],
    boundary: bytes,
    blob: BlobWriter,
    *,
    file_max: int | None,
    hashed: bool,
    expect: Callable[[str], Awaitable[None]],
) -> Form:
    """Read a form, and write the content of its part ``file`` to ``blob``.

    Args:
        chunks: the body.
        boundary: separates the parts of the body.
        blob: receives the file's content.
        file_max: the largest file that is accepted, in bytes; None for no limit.
        hashed: whether to compute the digest, which takes longer than writing.
        expect: called with the file's name before its content is read; may raise to refuse the file.

    Raises:
        InvalidRequest: if the body is not a well-formed form, or has two files.
        TooLarge: if the file or the other parts exceed their limits.
    """
    reader = _FormReader(blob, file_max, hashed, expect)
    parser = _Parser(boundary)
    async for chunk in chunks:
        for name, data in parser.events(chunk):
            await reader.take(name, data)
    if not parser.ended:
        raise InvalidRequest("The multipart body is incomplete.", code="invalid_multipart")
    return reader.form()


class _Parser:
    """Turns the callbacks of the parser into a list of events: (name, data).

    What precedes the first boundary is dropped. Source: RFC 2046, section 5.1.1.
    """

    def __init__(self, boundary: bytes) -> None:
        self.ended = False
        self._first = b"\r\n--" + boundary
        self._preamble: bytearray | None = bytearray(b"\r\n")
        """None once the first boundary has come."""
        self._events: list[tuple[str, memoryview]] = []
        marks = ("part_begin", "part_end", "header_end", "headers_finished", "end")
        spans = ("part_data", "header_field", "header_value")
        callbacks: dict[str, Callable[..., None]] = {f"on_{name}": self._mark(name) for name in marks}
        callbacks |= {f"on_{name}": self._span(name) for name in spans}
        self._parser = MultipartParser(boundary, callbacks, max_header_size=_FIELDS_MAX_BYTES)  # type: ignore[arg-type]

    def events(self, chunk: bytes) -> list[tuple[str, memoryview]]:
        self._events = []
        try:
            self._parser.write(chunk if self._preamble is None else self._after_preamble(self._preamble, chunk))
        except FormParserError as error:
            raise InvalidRequest("The multipart body is malformed.", code="invalid_multipart") from error
        self.ended = self.ended or any(name == "end" for name, _ in self._events)
        return self._events

    def _after_preamble(self, preamble: bytearray, chunk: bytes) -> bytes:
        """Return what of the body is the parser's, with the first boundary at its beginning; b"" before it has come."""
        may_begin = max(0, len(preamble) - len(self._first))
        preamble += chunk
        begins = preamble.find(self._first, may_begin)
        if begins >= 0:
            self._preamble = None
            return bytes(preamble[begins + 2 :])
        if len(preamble) > _FIELDS_MAX_BYTES:
            raise InvalidRequest("The multipart body does not begin with its boundary.", code="invalid_multipart")
        return b""

    def _mark(self, name: str) -> Callable[[], None]:
        return lambda: self._events.append((name, memoryview(b"")))

    def _span(self, name: str) -> Callable[[bytes, int, int], None]:
        return lambda data, start, end: self._events.append((name, memoryview(data)[start:end]))


class _FormReader:
    """Takes the events of a form, writes its file, and collects its fields."""

    def __init__(
        self, blob: BlobWriter, file_max: int | None, hashed: bool, expect: Callable[[str], Awaitable[None]]
    ) -> None:
        self._blob, self._file_max, self._expect = blob, file_max, expect
        self._hash = blake3() if hashed else None
        self._form = Form()
        self._values: dict[str, bytearray] = {}
        self._small = self._parts = 0
        self._header, self._header_value = bytearray(), bytearray()
        self._disposition = b""
        self._value: bytearray | None = None

    async def take(self, event: str, data: memoryview) -> None:
        if event == "part_data" and self._value is None:
            await self._file_data(data)
        elif event in ("part_data", "header_field", "header_value"):
            self._gather(event, data)
        elif event == "part_begin":
            self._begin()
        elif event == "header_end":
            self._end_header()
        elif event == "headers_finished":
            await self._open()

    def form(self) -> Form:
        for name, value in self._values.items():
            self._form.fields[name] = _decoded(bytes(value), name)
        if self._hash:
            fields = {name: value for name, value in self._form.fields.items() if name != ATTRIBUTES_FIELD}
            described = (sorted(fields.items()), self._form.filename)
            self._hash.update(repr(described).encode("utf-8", "surrogatepass"))
            self._form.digest = self._hash.hexdigest()
        return self._form

    async def _file_data(self, data: memoryview) -> None:
        if self._file_max is not None and self._blob.size + len(data) > self._file_max:
            raise TooLarge(f"The file is larger than this server accepts ({self._file_max} bytes).", param="file")
        if self._hash:
            self._hash.update(data)
        await self._blob.write(data)

    def _gather(self, event: str, data: memoryview) -> None:
        self._small += len(data)
        if self._small > _FIELDS_MAX_BYTES:
            raise TooLarge(f"The form's fields and headers are larger than {_FIELDS_MAX_BYTES} bytes.")
        target = {"header_field": self._header, "header_value": self._header_value}.get(event, self._value)
        assert target is not None
        target += data

    def _begin(self) -> None:
        self._parts += 1
        self._disposition = b""
        if self._parts > _PARTS_MAX:
            raise TooLarge(f"The form has more than {_PARTS_MAX} parts.")

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header, self._header_value = bytearray(), bytearray()

    async def _open(self) -> None:
        parameters = _parameters(self._disposition)
        if "name" not in parameters:
            raise InvalidRequest("A part of the multipart body has no name.", code="invalid_multipart")
        name = _decoded(_unescaped(parameters["name"]), "name")
        filename, ambiguous = file_name(parameters)
        if filename is None or name != _FILE_FIELD:
            self._value = self._values.setdefault(name, bytearray())
            return
        if self._form.filename is not None:
            raise InvalidRequest("Give one file only.", param="file")
        self._form.filename, self._form.ambiguous = filename, ambiguous
        self._value = None
        await self._expect(filename)


def file_name(parameters: Mapping[str, bytes]) -> tuple[str | None, bool]:
    """Return the file name in a Content-Disposition (None if there is none), and whether it is ambiguous.

    Raises:
        InvalidRequest: if the name is not in UTF-8.
    """
    if extended := parameters.get("filename*"):
        charset, _, rest = extended.partition(b"'")
        _, separator, value = rest.partition(b"'")
        if not separator or charset.lower() not in (b"utf-8", b"utf8"):
            raise InvalidRequest("Invalid file name: 'filename*' is not in UTF-8.", param="file")
        return _decoded(unquote_to_bytes(value), "file"), False
    plain = parameters.get("filename")
    if plain is None:
        return None, False
    return _decoded(_unescaped(plain), "file"), any(match[0] != b'\\"' for match in _ESCAPE.finditer(plain))


# name=token or name="quoted string", in which quotes and backslashes may be escaped
_PARAMETER = re.compile(rb';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', re.DOTALL)
_ESCAPE = re.compile(rb'\\([\\"])|%(22|[01][0-9A-Fa-f]|7[Ff])')


def _parameters(header: bytes) -> dict[str, bytes]:
    """Parse the parameters of a header. Quoted values are returned without their quotes, and not unescaped."""
    return {
        match[1].decode("latin-1").lower(): match[3] if match[2] is None else match[2]
        for match in _PARAMETER.finditer(header)
    }


def _unescaped(value: bytes) -> bytes:
    """Undo both ways of escaping. Programs escape quotes and control characters in one way or the other, and never
    ``%``."""
    return _ESCAPE.sub(lambda match: match[1] or bytes([int(match[2], 16)]), value)


def _decoded(value: bytes, param: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"'{param}' is not valid UTF-8.", param=param) from error
