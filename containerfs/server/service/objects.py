"""Turns requests into records, and records into the objects that are sent.

The objects have the fields of the published API and those of the API's first description.
"""

from containerfs.api.models import Container, ContainerFile, ExpiresAfter, File, FileAttributes
from containerfs.server.requests import SECONDS, Attributes, CreateContainer, ExpiryRule
from containerfs.server.storage.records import ContainerFileRecord, ContainerRecord, FileRecord


def container_record(
    id: str, namespace: str, request: CreateContainer, default_rule: ExpiryRule | None, now: int, file_count: int
) -> ContainerRecord:
    """Make the record of a new container.

    Args:
        default_rule: the expiry rule if the request has none.
        now: in Unix seconds.
        file_count: how many files it is created with.
    """
    rule, policy = request.expires_after or default_rule, request.network_policy
    return ContainerRecord(
        id=id,
        namespace=namespace,
        name=request.name,
        created_at=now,
        last_active_at=now,
        expires_at=now + rule.span * SECONDS[rule.unit] if rule else None,
        anchor=rule.anchor if rule else None,
        span=rule.span if rule else None,
        unit=rule.unit if rule else None,
        memory_limit=request.memory_limit or "1g",
        network_policy=policy.model_dump(exclude_none=True) if policy else None,
        file_count=file_count,
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
        attributes=FileAttributes.model_validate(record.attributes) if record.attributes else None,
    )


def attributes_record(request: Attributes | None) -> dict[str, int] | None:
    """Return the attributes to store; None if there are none."""
    given: dict[str, int] = {} if request is None else request.model_dump(exclude_none=True)
    return given or None


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
