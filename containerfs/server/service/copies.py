"""Copies of files, which share the bytes of their sources."""

from collections.abc import Sequence
from dataclasses import replace

from containerfs.server.errors import InvalidRequest
from containerfs.server.requests import CopyFile
from containerfs.server.service import ids
from containerfs.server.service.names import container_path, is_directory
from containerfs.server.service.objects import attributes_record
from containerfs.server.service.refusals import no_file
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.records import ContainerFileRecord, ContainerRecord, FileRecord


def copy_of(
    tx: Transaction, container: ContainerRecord, request: CopyFile, name: str | None, now: int
) -> ContainerFileRecord:
    """The row for a copy of a file into a container.

    Args:
        name: the name of the copy; None for that of its source.

    Raises:
        NotFound: if there is no such file in the container's namespace.
        InvalidRequest: if a directory would get the name of a file, or the other way round.
    """
    source = tx.source(container.namespace, request.file_id, now)
    if source is None:
        raise no_file(request.file_id, param="file_id")
    copy = _copy(source, container.id, now)
    if name is not None:
        if is_directory(name) != is_directory(copy.path):
            raise InvalidRequest(
                "A directory can only be copied to a name that ends in '/', and a file only to another name.",
                param="path",
            )
        copy = replace(copy, path=container_path(name))
    if request.attributes is not None:
        copy = replace(copy, attributes=attributes_record(request.attributes))
    return copy


def copies_of(
    tx: Transaction, namespace: str, container_id: str, source_ids: Sequence[str], now: int
) -> list[ContainerFileRecord]:
    """The rows for copies of files into a new container. Of files with the same name, the last one is copied.

    Raises:
        NotFound: if one of the files does not exist in the namespace.
    """
    sources = tx.sources(namespace, source_ids, now)
    copies: dict[str, ContainerFileRecord] = {}
    for id in source_ids:
        if id not in sources:
            raise no_file(id, param="file_ids")
        copy = _copy(sources[id], container_id, now)
        copies.pop(copy.path, None)
        copies[copy.path] = copy
    return list(copies.values())


def _copy(source: FileRecord | ContainerFileRecord, container_id: str, now: int) -> ContainerFileRecord:
    if isinstance(source, FileRecord):
        file_id: str | None = source.id
        path, kept = container_path(source.filename), None
    else:
        file_id, path, kept = source.file_id, source.path, source.attributes
    id = ids.container_file_id()
    return ContainerFileRecord(id, container_id, path, source.bytes, now, source.blob, file_id, kept)
