"""What a service can do beyond the published API.

Our own server lists its extensions in one header of every answer. Extensions that a service does not list are not used:
the published API does not mention them, so the default is what is safe with every service.
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
"""The name of each header, in lower case, and what precedes the key in it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one service can do.

    Attributes:
        idempotency: whether a POST that is repeated with its ``Idempotency-Key`` is carried out once, and answered
            again.
        copies_by_path: whether a request to copy a file may name the path of the copy.
        tells_sizes: whether HEAD tells the size of a content; None if that is not known.
        etags: whether the ETag of a content is the id of its file.
        attributes: whether it keeps modes, owners and times of files.
        directories: whether it keeps directories without files, as files whose names end in ``/``.
        renames: whether containers can be renamed.
        whole_uploads: whether an upload may arrive in chunks without its length, and is stored only if it is complete.
            One that breaks off has no effect.
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
        """Whether the service makes exactly one copy, even if the request is repeated."""
        return self.copies_by_path and self.idempotency

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """Return the dialect that an answer advertises; the cautious default if it advertises none.

        Args:
            headers: of any answer, error or not; looked up in lower case.
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
