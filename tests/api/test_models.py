"""The objects, in every dialect that they are met in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from containerfs.api.models import ApiModel, Container, ContainerFile, Deletion, File, ListPage

SEED_CONTAINER = {"id": "cntr_1", "created_at": 1, "name": "n", "object": "container"}
PUBLISHED_CONTAINER = {
    **SEED_CONTAINER,
    "status": "running",
    "expires_after": {"anchor": "last_active_at", "minutes": 20},
    "last_active_at": 2,
    "memory_limit": "1g",
    "network_policy": {"type": "allowlist", "allowed_domains": ["example.org"]},
}
SEED_FILE = {
    "id": "cfile_1",
    "container_id": "cntr_1",
    "file_id": "file-1",
    "created_at": 1,
    "object": "container.file",
}
PUBLISHED_FILE = {**SEED_FILE, "bytes": None, "path": "/mnt/data/a.txt", "source": "assistant"}


@pytest.mark.parametrize(
    "fields", [SEED_CONTAINER, {**SEED_CONTAINER, "expires_at": 9, "file_count": 2}, PUBLISHED_CONTAINER]
)
def test_containers(fields: dict[str, object]) -> None:
    assert Container.model_validate(fields).model_dump(exclude_unset=True) == fields


@pytest.mark.parametrize("fields", [SEED_FILE, PUBLISHED_FILE])
def test_container_files(fields: dict[str, object]) -> None:
    file = ContainerFile.model_validate(fields)
    assert file.model_dump(exclude_unset=True) == fields
    assert file.bytes is None


def test_undocumented_fields_are_kept() -> None:
    container = Container.model_validate({"id": "c", "tags": ["a"]})
    assert container.model_extra == {"tags": ["a"]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize("model", [Container, ContainerFile, File, Deletion])
@given(data=st.data())
def test_nothing_but_the_id_matters(model: type[ApiModel], data: st.DataObject) -> None:
    fields = data.draw(st.dictionaries(st.sampled_from(sorted({*model.model_fields} - {"id"})), json_values))
    read = model.model_validate({"id": "x", **fields})
    defaults = model.model_validate({"id": "x"})
    assert {name: type(value) for name, value in read if value != getattr(defaults, name)}.keys() <= fields.keys()


@pytest.mark.parametrize("size", [None, -1, "many", 1.5, [], True])
def test_a_size_is_a_size_or_unknown(size: object) -> None:
    assert ContainerFile.model_validate({"id": "x", "bytes": size}).bytes in (None, int(size is True))


@pytest.mark.parametrize("model", [Container, ContainerFile, File, Deletion])
@pytest.mark.parametrize("fields", [{}, {"id": None}, {"id": 7}])
def test_an_id_is_needed(model: type[ApiModel], fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(fields)


def test_a_page_needs_its_data_and_no_more() -> None:
    page = ListPage[Container].model_validate({"data": [{"id": "a"}], "has_more": "perhaps", "last_id": 7})
    assert (page.has_more, page.first_id, page.last_id, page.data[0].id) == (None, None, None, "a")
    with pytest.raises(ValidationError):
        ListPage[Container].model_validate({"has_more": False})


def test_objects_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Container(id="x").name = "other"  # type: ignore[misc]
