"""What a file system should do, in a page: files, as one mount sees them and as the service has them."""

from dataclasses import dataclass, field


@dataclass
class File:
    """One file.

    Attributes:
        content: as the mount sees it that writes it.
        published: as the service has it; None while it does not.
        recorded: whether ``content`` outlives a crash of the mount.
        handles: how many are open.
    """

    content: bytearray = field(default_factory=bytearray)
    published: bytes | None = None
    recorded: bool = False
    handles: int = 0

    def write(self, offset: int, data: bytes) -> None:
        self.truncate(max(len(self.content), offset + len(data)))
        self.content[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))

    def publish(self) -> None:
        self.published, self.recorded = bytes(self.content), False

    def crash(self) -> None:
        """What is left of it: what was recorded, else what the service has."""
        if self.recorded:
            self.publish()
        else:
            self.content = bytearray(self.published or b"")


def below(path: str, directory: str) -> bool:
    return not directory or path.startswith(directory + "/")


def moved(path: str, old: str, new: str) -> str:
    return new + path.removeprefix(old)


def parents(path: str) -> list[str]:
    """The directories that a path lies in, outermost first, the container itself left out."""
    segments = path.split("/")[:-1]
    return ["/".join(segments[: count + 1]) for count in range(len(segments))]
