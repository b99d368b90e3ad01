"""What a service can do beyond the published API.

Our own server lists its extensions in one header of every answer. What a service does not list is not relied on: the
published API says nothing about it, so the default is what is safe with every service.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from containerfs.api.paths import DATA_ROOT

FEATURES_HEADER = "containerfs-features"
"""The header in which our server lists its extensions: words, separated by commas."""

FEATURES = (
    "idempotency-keys, replaces-by-path, copies-by-path, ranges, sizes, etags, attributes, directories, renames,"
    " whole-uploads"
)
"""What our server lists there."""

AuthHeader = Literal["bearer", "api-key"]
"""How the API key is sent: ``Authorization: Bearer KEY``, or ``api-key: KEY`` as Azure wants it."""

AUTH_HEADERS: Mapping[AuthHeader, tuple[str, str]] = {
    "bearer": ("authorization", "Bearer "),
    "api-key": ("api-key", ""),
}
"""The header of each, in lower case, and what stands before the key in it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one service speaks.

    Attributes:
        idempotency: whether a POST that is sent again with its ``Idempotency-Key`` happens once, and is answered again.
        copies_by_path: whether a copy of a file may be stored under a path that the request names.
        tells_sizes: whether HEAD tells the size of a content; None where that is not known.
        etags: whether the ETag of a content is the id of its file.
        attributes: whether it keeps modes, owners and times of files.
        directories: whether it keeps directories without files, as files whose names end in ``/``.
        renames: whether containers can be renamed.
        whole_uploads: whether an upload may come in chunks, without its length, and is stored only once all of it has
            come: what breaks off is as if it had never begun.
        data_root: the directory that the paths of files begin with.
    """

    idempotency: bool = False
    copies_by_path: bool = False
    tells_sizes: bool | None = None
    etags: bool = False
    attributes: bool = False
    directories: bool = False
    renames: bool = False
    whole_uploads: bool = False
    data_root: str = DATA_ROOT

    @property
    def copies_once(self) -> bool:
        """Whether the service can be asked for a copy: it makes one, also where the request is sent again."""
        return self.copies_by_path and self.idempotency

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """The dialect that an answer advertises; the cautious default where it advertises none.

        Args:
            headers: of any answer, error or not; names are looked up in lower case.
        """
        words = {word.strip() for word in headers.get(FEATURES_HEADER, "").split(",")}
        return cls(
            idempotency="idempotency-keys" in words,
            copies_by_path="copies-by-path" in words,
            tells_sizes="sizes" in words or None,
            etags="etags" in words,
            attributes="attributes" in words,
            directories="directories" in words,
            renames="renames" in words,
            whole_uploads="whole-uploads" in words,
        )
