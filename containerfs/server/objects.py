"""Records as the objects that go over the wire: the union of what the seed schema and the published one have."""

from containerfs.api.models import Container, ContainerFile, ExpiresAfter, File, Item, ListPage
from containerfs.server.storage.base import ContainerFileRecord, ContainerRecord, FileRecord, PageQuery


def page_of(found: list[Item], query: PageQuery) -> ListPage[Item]:
    data = found[: query.limit]
    ids = [item.id for item in data]
    return ListPage(
        data=data,
        has_more=len(found) > query.limit,
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
    )


def container_object(record: ContainerRecord) -> Container:
    rule = ExpiresAfter(anchor=record.anchor, **{record.unit: record.span}) if record.unit else None
    return Container.model_validate(
        {
            "id": record.id,
            "created_at": record.created_at,
            "name": record.name,
            "status": "running",
            "expires_at": record.expires_at,
            "expires_after": rule,
            "last_active_at": record.last_active_at,
            "memory_limit": record.memory_limit,
            "network_policy": record.network_policy,
            "file_count": record.file_count,
        }
    )


def container_file_object(record: ContainerFileRecord) -> ContainerFile:
    return ContainerFile(
        id=record.id,
        created_at=record.created_at,
        container_id=record.container_id,
        bytes=record.bytes,
        path=record.path,
        source="user",
        file_id=record.file_id,
    )


def file_object(record: FileRecord) -> File:
    return File(
        id=record.id,
        created_at=record.created_at,
        filename=record.filename,
        purpose=record.purpose,
        bytes=record.bytes,
        status="processed",
        expires_at=record.expires_at,
    )
