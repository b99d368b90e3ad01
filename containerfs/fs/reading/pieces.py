"""Whether a large file is fetched in pieces, several at a time, and where the next one begins. Decisions only.

One connection does not fill a wire that is long, nor does one to a service that paces each of them. So once a reader in
sequence waits for such a stream, what is ahead of it is fetched in pieces. Where a service is near and quick, the
processor is the limit, and one stream costs least.
"""

from collections.abc import Iterable

from containerfs.fs.reading.ranges import Ranges
from containerfs.fs.reading.readahead import MAX_AHEAD, MiB, ReadAhead

PIECE = 16 * MiB
AT_ONCE = 4
LARGE = 64 * MiB  # files below it are not worth more connections
_BEGINNING = 8 * MiB  # bytes that one stream brings before


class Pieces:
    """The pieces of one file. Not thread-safe."""

    def __init__(self) -> None:
        self._frontier: int | None = None  # where the next one begins; None while one stream is enough

    def next(
        self, wanted: int, streams: Iterable[ReadAhead], present: Ranges, size: int | None, *, waits: bool
    ) -> ReadAhead | None:
        """The next piece to fetch, if it is time for one.

        Args:
            wanted: up to which offset a reader reads now.
            streams: those of the file that are under way.
            present: which bytes of the file are here.
            size: of the file, in bytes; None while it is unknown.
            waits: whether the reader waits for its bytes.
        """
        if size is None or size < LARGE:
            return None
        frontier = self._frontier
        if frontier is None or not frontier - MAX_AHEAD - PIECE <= wanted <= frontier:
            frontier = _begin(wanted, streams, size) if waits else None
            if frontier is None:
                return None
        self._frontier = frontier = present.end_of(frontier)
        running = sum(stream.end is not None and wanted <= stream.end <= frontier for stream in streams)
        if frontier >= size or running >= AT_ONCE or frontier - wanted > MAX_AHEAD:
            return None
        self._frontier = min(frontier + PIECE, size)
        return ReadAhead(frontier, self._frontier)


def _begin(wanted: int, streams: Iterable[ReadAhead], size: int) -> int | None:
    """Where the first piece begins, up to which the stream that the reader waits for goes on."""
    for stream in streams:
        if stream.end is None and stream.will_reach(wanted) and stream.is_slow:
            frontier = stream.position + PIECE
            if stream.position - stream.start >= _BEGINNING and frontier < size:
                stream.end = frontier
                return frontier
    return None
