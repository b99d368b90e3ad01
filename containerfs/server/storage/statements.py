"""The statements. Each is built once: building it takes SQLAlchemy several times as long as it takes SQLite to run it.

Parameters are named after the columns that they are compared with; ``now`` is in Unix seconds.
"""

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Delete,
    Insert,
    Select,
    Table,
    Text,
    Update,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    not_,
    null,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)

from containerfs.api.models import Order
from containerfs.server.storage.records import (
    ContainerFileRecord,
    ContainerRecord,
    FileRecord,
    KeyRecord,
    Quota,
    RecordedAnswer,
)
from containerfs.server.storage.schema import (
    DEAD,
    LIVE,
    NEW,
    SMALL_BLOBS_SINCE,
    answers,
    api_keys,
    blobs,
    container_files,
    containers,
    departed,
    files,
    indexed,
    quotas,
    revision,
    small_blobs,
)

_RECORDS: dict[Table, type] = {
    containers: ContainerRecord,
    container_files: ContainerFileRecord,
    files: FileRecord,
    answers: RecordedAnswer,
    api_keys: KeyRecord,
    quotas: Quota,
}

LISTINGS: dict[Table, ColumnElement[str]] = {
    containers: containers.c.namespace,
    container_files: container_files.c.container_id,
    files: files.c.namespace,
}
"""The column by which each table's listings are told apart."""

NAMESPACE: BindParameter[str] = bindparam("namespace")
CONTAINER: BindParameter[str] = bindparam("container_id")
ID: BindParameter[str] = bindparam("id")
PATH: BindParameter[str] = bindparam("path", type_=Text)
KEY: BindParameter[str] = bindparam("key")
NOW: BindParameter[int] = bindparam("now")
LISTING: BindParameter[str] = bindparam("listing")
BEFORE: BindParameter[int] = bindparam("before")
LIMIT: BindParameter[int] = bindparam("limit")


def _records(table: Table) -> Select[Any]:
    """Select the columns of a record, in its order."""
    return select(*(table.c[field.name] for field in fields(_RECORDS[table])))


def _alive(table: Table) -> ColumnElement[bool]:
    return or_(table.c.expires_at.is_(None), table.c.expires_at > NOW)


def _locked(statement: Select[Any]) -> Select[Any]:
    """Lock the rows of a query until the transaction ends, and read them as they are then."""
    return statement.with_for_update(key_share=True)


NAMES_AT_ONCE = 100
"""The number of names in a statement. It is constant, so that the statement is prepared once: statements with varying
numbers of parameters took 2 MB each in SQLite's cache."""


def names_of(some: Sequence[str]) -> dict[str, str]:
    """Return the parameters of such a statement, for up to so many names."""
    return {f"name_{number}": some[min(number, len(some) - 1)] for number in range(NAMES_AT_ONCE)}


def _is_one_of(column: ColumnElement[str]) -> ColumnElement[bool]:
    return column.in_(bindparam(name) for name in names_of([""]))


_is_named = _is_one_of(blobs.c.name)

container = _records(containers).where(containers.c.id == ID, containers.c.namespace == NAMESPACE, _alive(containers))

locked_container = _locked(container)

# In an UPDATE, a parameter may not have the name of a column.
_ACTIVE_AT: BindParameter[int] = bindparam("active_at")

touch_container = (
    update(containers)
    .where(containers.c.id == bindparam("touched"))
    .where(or_(containers.c.expires_at.is_(None), containers.c.expires_at > _ACTIVE_AT))
    .values(
        last_active_at=_ACTIVE_AT,
        expires_at=bindparam("until"),
        file_count=containers.c.file_count + bindparam("added"),
    )
)

rename_container = update(containers).where(containers.c.id == bindparam("renamed")).values(name=bindparam("new_name"))

_ATTRIBUTES = bindparam("given", type_=container_files.c.attributes.type)

set_attributes = (
    update(container_files).where(container_files.c.id == bindparam("changed")).values(attributes=_ATTRIBUTES)
)

end_container = update(containers).where(containers.c.id == bindparam("ended")).values(expires_at=0)

_file_of_container = _records(container_files).where(container_files.c.container_id == CONTAINER)

container_file = _file_of_container.where(container_files.c.id == ID)

container_file_copied_from = (
    _file_of_container.where(container_files.c.file_id == ID).order_by(container_files.c.seq.desc()).limit(1)
)

container_file_at = _file_of_container.where(
    container_files.c.path == PATH, indexed(container_files.c.path) == indexed(PATH)
)

container_file_in_namespace = (
    _records(container_files)
    .join(containers, containers.c.id == container_files.c.container_id)
    .where(container_files.c.id == ID, containers.c.namespace == NAMESPACE, _alive(containers))
)

container_files_of_ids = (
    _records(container_files)
    .join(containers, containers.c.id == container_files.c.container_id)
    .where(_is_one_of(container_files.c.id), containers.c.namespace == NAMESPACE, _alive(containers))
)

# Rows that are deleted together. Each statement returns one row: the driver gives up the interpreter at every row, and
# the writing thread then waits until a busy event loop gives it back.


def _lines(column: ColumnElement[str]) -> ColumnElement[str]:
    """Aggregate values to one text, with a line for each. The separator as a parameter would be rendered again at each
    execution."""
    return func.aggregate_strings(column, literal_column("'\n'"))  # type: ignore[arg-type]


_some_files = (
    select(container_files.c.seq, container_files.c.blob, container_files.c.bytes)
    .where(container_files.c.container_id == CONTAINER)
    .order_by(container_files.c.created_at, container_files.c.seq)
    .limit(LIMIT)
    .subquery("some_files")
)

blobs_of_some_files = select(_lines(_some_files.c.blob))

bytes_of_some_files = select(func.coalesce(func.sum(_some_files.c.bytes), 0))

delete_some_files = delete(container_files).where(container_files.c.seq.in_(select(_some_files.c.seq)))


def _some(table: Table, condition: ColumnElement[bool]) -> Delete:
    key = list(table.primary_key)
    return delete(table).where(tuple_(*key).in_(select(*key).where(condition).limit(LIMIT)))


file = _records(files).where(files.c.id == ID, files.c.namespace == NAMESPACE, _alive(files))

locked_file = _locked(file)

files_of_ids = _records(files).where(_is_one_of(files.c.id), files.c.namespace == NAMESPACE, _alive(files))

answer = _records(answers).where(answers.c.namespace == NAMESPACE, answers.c.key == KEY)

claim_key = text(
    "INSERT INTO answers (namespace, key, digest, body, answered_at) VALUES (:namespace, :key, :digest, '', :now) "
    "ON CONFLICT (namespace, key) "
    "DO UPDATE SET digest = excluded.digest, body = '', answered_at = excluded.answered_at "
    "WHERE answers.answered_at < :since"
)
"""As text, because both databases accept it, while SQLAlchemy has a different construct for each."""

record_answer = (
    update(answers)
    .where(answers.c.namespace == bindparam("of_namespace"), answers.c.key == bindparam("of_key"))
    .values(body=bindparam("answer"))
)

use_blob = (
    update(blobs)
    .where(blobs.c.name == bindparam("used"), blobs.c.state != DEAD)
    .values(state=LIVE, copies=blobs.c.copies + 1, due_at=None)
)

_released: BindParameter[int] = bindparam("released", type_=BigInteger)

_is_last = blobs.c.copies == _released

release_blob = (
    update(blobs)
    .where(blobs.c.name == bindparam("blob"))
    .values(
        state=case((_is_last, DEAD), else_=LIVE),
        copies=blobs.c.copies - _released,
        due_at=case((_is_last, bindparam("dead_until", type_=BigInteger)), else_=null()),
    )
)

abandon_blob = (
    update(blobs)
    .where(blobs.c.name == bindparam("blob"), blobs.c.state == NEW)
    .values(state=DEAD, due_at=bindparam("dead_until", type_=BigInteger))
)

record_dead_blob = text(
    "INSERT INTO blobs (name, state, copies, due_at) VALUES (:blob, 'dead', 0, :dead_until) "
    "ON CONFLICT (name) DO NOTHING"
)

dead_blobs = select(_lines(blobs.c.name)).where(_is_named, blobs.c.state == DEAD)

keeps_small_blobs = select(revision.c.version_num).where(revision.c.version_num >= SMALL_BLOBS_SINCE)

small_blob = select(small_blobs.c.content).where(small_blobs.c.name == bindparam("name"))

forget_small_blobs = delete(blobs).where(
    _is_named, blobs.c.state == DEAD, blobs.c.name.in_(select(small_blobs.c.name).where(_is_one_of(small_blobs.c.name)))
)
"""Their contents go with them."""

_due_blobs = (
    select(blobs.c.name)
    .where(blobs.c.due_at <= NOW)
    .order_by(blobs.c.due_at)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
    .subquery("due_blobs")
)

due_blobs = select(_lines(_due_blobs.c.name))

claim_blobs = update(blobs).where(_is_named).values(state=DEAD, due_at=bindparam("again_at"))

forget_blobs = delete(blobs).where(_is_named, blobs.c.state == DEAD)

departed_place = select(departed.c.created_at, departed.c.seq).where(departed.c.id == ID, departed.c.listing == LISTING)

delete_some_places_of = _some(departed, departed.c.listing == LISTING)

delete_some_old_places = _some(departed, departed.c.departed_at < BEFORE)

delete_some_old_answers = _some(answers, answers.c.answered_at < BEFORE)


_contents = union_all(
    select(containers.c.namespace, containers.c.expires_at, container_files.c.bytes).join(
        containers, containers.c.id == container_files.c.container_id
    ),
    select(files.c.namespace, files.c.expires_at, files.c.bytes),
    select(containers.c.namespace, containers.c.expires_at, null()),
).subquery("contents")
"""A row for each file, and one without bytes for each container."""

_is_alive = or_(_contents.c.expires_at.is_(None), _contents.c.expires_at > NOW)

_is_file = _contents.c.bytes.is_not(None)


def _total(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(_contents.c.bytes).filter(condition), 0), BigInteger)


usage = (
    select(
        _contents.c.namespace,
        func.count().filter(_is_alive, not_(_is_file)),
        func.count().filter(_is_alive, _is_file),
        _total(_is_alive),
        _total(not_(_is_alive)),
    )
    .group_by(_contents.c.namespace)
    .order_by(_contents.c.namespace)
)


keys = _records(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)

keys_named = select(api_keys.c.id).where(api_keys.c.name == bindparam("name"))

all_quotas = _records(quotas).order_by(quotas.c.namespace)

quota = _records(quotas).where(quotas.c.namespace == NAMESPACE)

_CHARGED: BindParameter[str] = bindparam("charged", type_=Text)


def _charge(namespace: ColumnElement[str]) -> Update:
    return (
        update(quotas)
        .where(quotas.c.namespace == namespace)
        .values(
            bytes=quotas.c.bytes + bindparam("more_bytes", type_=BigInteger),
            files=quotas.c.files + bindparam("more_files", type_=BigInteger),
        )
    )


charge_namespace = _charge(_CHARGED)

charge_container = _charge(select(containers.c.namespace).where(containers.c.id == _CHARGED).scalar_subquery())

quota_of_container = _records(quotas).where(
    quotas.c.namespace == select(containers.c.namespace).where(containers.c.id == CONTAINER).scalar_subquery()
)

keep_writers_out = text("LOCK TABLE container_files, files IN SHARE MODE")
"""Wait for those that add or delete files, and make others wait until the transaction ends. For PostgreSQL."""

delete_quota = delete(quotas).where(quotas.c.namespace == NAMESPACE)

_of_namespace = union_all(
    select(container_files.c.bytes)
    .join(containers, containers.c.id == container_files.c.container_id)
    .where(containers.c.namespace == NAMESPACE),
    select(files.c.bytes).where(files.c.namespace == NAMESPACE),
).subquery("of_namespace")

bytes_and_files = select(
    cast(func.coalesce(func.sum(_of_namespace.c.bytes), 0), BigInteger), func.count(_of_namespace.c.bytes)
)
"""What a namespace holds, expired or not."""


@cache
def insertion(table: Table) -> Insert:
    given = [column.name for column in table.c if column is not table.autoincrement_column]
    return insert(table).values({name: bindparam(name, type_=table.c[name].type) for name in given}).inline()


@cache
def deletion(table: Table) -> Delete:
    return delete(table).where(table.c.id == ID)


@cache
def expired(table: Table) -> Select[Any]:
    """Select expired rows that no other transaction is removing."""
    return select(table.c.id).where(table.c.expires_at <= NOW).limit(LIMIT).with_for_update(skip_locked=True)


@cache
def place(table: Table) -> Select[Any]:
    """Select the place of an item in a listing."""
    return select(table.c.created_at, table.c.seq).where(table.c.id == ID, LISTINGS[table] == LISTING)


@cache
def row_and_place(table: Table) -> Select[Any]:
    """Select what is needed to delete a row: its listing, its place there, and its blob and size if it has one."""
    blob = [table.c.blob, table.c.bytes] if "blob" in table.c else []
    return select(LISTINGS[table], table.c.created_at, table.c.seq, *blob).where(table.c.id == ID).with_for_update()


@cache
def page(table: Table, order: Order, *, continued: bool, filter_by: str | None = None) -> Select[Any]:
    """Select a page of a listing, without expired rows.

    Args:
        continued: whether the page follows a place.
        filter_by: a column that must have a given value.
    """
    statement = _records(table).where(LISTINGS[table] == LISTING)
    if "expires_at" in table.c:
        statement = statement.where(_alive(table))
    if filter_by is not None:
        column, wanted = table.c[filter_by], bindparam("filter", type_=Text)
        statement = statement.where(column == wanted, indexed(column) == indexed(wanted))
    key = (table.c.created_at, table.c.seq)
    if continued:
        there = tuple_(bindparam("place_created_at"), bindparam("place_seq"))
        statement = statement.where(tuple_(*key) > there if order == "asc" else tuple_(*key) < there)
    ordered = statement.order_by(*(column.asc() if order == "asc" else column.desc() for column in key))
    return ordered.limit(LIMIT)
