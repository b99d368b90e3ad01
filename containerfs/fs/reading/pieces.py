"""Whether to fetch a large file in pieces, several at a time, and where the next one begins. Decisions only.

One connection does not fill a long wire, or one of a service that limits each connection. So once a sequential reader
waits for such a stream, what is ahead of it is fetched in pieces. If the service is near and fast, the processor is the
limit, and one stream costs the least.
"""

from collections.abc import Iterable

from containerfs.fs.reading.ranges import Ranges
from containerfs.fs.reading.readahead import MAX_AHEAD, MiB, ReadAhead

PIECE = 16 * MiB
AT_ONCE = 4
LARGE = 64 * MiB  # smaller files are not worth more connections
_BEGINNING = 8 * MiB  # bytes that one stream brings first


class Pieces:
    """The pieces of one file. Not thread-safe."""

    def __init__(self) -> None:
        self._frontier: int | None = None  # where the next one begins; None while one stream is enough

    def next(
        self, wanted: int, streams: Iterable[ReadAhead], present: Ranges, size: int | None, *, waits: bool
    ) -> ReadAhead | None:
        """Return the next piece to fetch, if it is time for one.

        Args:
            wanted: the offset up to which a reader is reading.
            streams: the running streams of the file.
            present: the bytes of the file that are here.
            size: of the file in bytes; None while it is unknown.
            waits: whether the reader is waiting for its bytes.
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
    """Return where the first piece begins, which is where the stream that the reader waits for will end."""
    for stream in streams:
        if stream.end is None and stream.will_reach(wanted) and stream.is_slow:
            frontier = stream.position + PIECE
            if stream.position - stream.start >= _BEGINNING and frontier < size:
                stream.end = frontier
                return frontier
    return None
