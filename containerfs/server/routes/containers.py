"""``/containers`` and ``/containers/{container_id}/files``. Source: the published spec of ``/v1/containers``."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from containerfs.server.errors import InvalidRequest, UnsupportedMediaType
from containerfs.server.multipart import ATTRIBUTES_FIELD, Form
from containerfs.server.requests import Attributes, CopyFile, CreateContainer, RenameContainer, UpdateFile
from containerfs.server.routes.answers import json_answer, page_answer
from containerfs.server.routes.asked import Endpoint, content_answer, namespace, page_query, service
from containerfs.server.routes.bodies import media_type, parsed, read_json, read_upload


async def create(request: Request) -> Response:
    body, once = await read_json(request, CreateContainer)
    return json_answer(await service(request).containers.create(namespace(request), body, once))


async def listing(request: Request) -> Response:
    name = request.query_params.get("name")
    return page_answer(await service(request).containers.page(namespace(request), page_query(request), name))


async def retrieve(request: Request) -> Response:
    return json_answer(
        await service(request).containers.retrieve(namespace(request), request.path_params["container_id"])
    )


async def rename(request: Request) -> Response:
    body, once = await read_json(request, RenameContainer)
    container_id = request.path_params["container_id"]
    return json_answer(await service(request).containers.rename(namespace(request), container_id, body, once))


async def delete(request: Request) -> Response:
    return json_answer(
        await service(request).containers.delete(namespace(request), request.path_params["container_id"])
    )


async def create_file(request: Request) -> Response:
    kind = media_type(request)
    if kind == "multipart/form-data":
        return await _upload(request)
    if kind in ("application/json", ""):
        return await _copy(request)
    raise UnsupportedMediaType("Send a file as multipart/form-data, or a file_id as application/json.")


async def list_files(request: Request) -> Response:
    container_id = request.path_params["container_id"]
    return page_answer(
        await service(request).container_files.page(namespace(request), container_id, page_query(request))
    )


async def retrieve_file(request: Request) -> Response:
    return json_answer(await service(request).container_files.retrieve(namespace(request), *_ids(request)))


async def update_file(request: Request) -> Response:
    body, once = await read_json(request, UpdateFile)
    return json_answer(await service(request).container_files.update(namespace(request), *_ids(request), body, once))


async def delete_file(request: Request) -> Response:
    return json_answer(await service(request).container_files.delete(namespace(request), *_ids(request)))


async def file_content(request: Request) -> ASGIApp:
    return content_answer(request, await service(request).container_files.content(namespace(request), *_ids(request)))


async def _upload(request: Request) -> Response:
    container_id = request.path_params["container_id"]
    expect = partial(service(request).container_files.expect, namespace(request), container_id)
    async with service(request).contents.receive() as blob:
        form, once = await read_upload(request, blob, expect)
        if form.filename is None:
            # Some programs send a file id as a form.
            named = {name: form.fields[name] for name in ("path",) if name in form.fields}
            fields = parsed(CopyFile, {"file_id": _file_id_field(form.fields), **named})
            fields = fields.model_copy(update={"attributes": _attributes(form)})
            return json_answer(
                await service(request).container_files.copy(namespace(request), container_id, fields, once)
            )
        added = service(request).container_files.add(
            namespace(request),
            container_id,
            form.filename,
            blob,
            once,
            attributes=_attributes(form),
            may_replace=not form.ambiguous,
        )
        return json_answer(await added)


async def _copy(request: Request) -> Response:
    body, once = await read_json(request, CopyFile)
    container_id = request.path_params["container_id"]
    return json_answer(await service(request).container_files.copy(namespace(request), container_id, body, once))


def _attributes(form: Form) -> Attributes | None:
    """Parse the field ``attributes``, which is JSON."""
    given = form.fields.get(ATTRIBUTES_FIELD)
    return None if given is None else parsed(Attributes, given.encode(), within=ATTRIBUTES_FIELD)


def _file_id_field(fields: dict[str, str]) -> str:
    if not fields.get("file_id"):
        raise InvalidRequest("Give a file (with its file name) or a file_id.", param="file")
    return fields["file_id"]


def _ids(request: Request) -> tuple[str, str]:
    return request.path_params["container_id"], request.path_params["file_id"]


routes: list[Endpoint] = [
    ("POST", "/containers", create),
    ("GET", "/containers", listing),
    ("GET", "/containers/{container_id}", retrieve),
    ("POST", "/containers/{container_id}", rename),
    ("DELETE", "/containers/{container_id}", delete),
    ("POST", "/containers/{container_id}/files", create_file),
    ("GET", "/containers/{container_id}/files", list_files),
    ("GET", "/containers/{container_id}/files/{file_id}", retrieve_file),
    ("POST", "/containers/{container_id}/files/{file_id}", update_file),
    ("DELETE", "/containers/{container_id}/files/{file_id}", delete_file),
    ("GET", "/containers/{container_id}/files/{file_id}/content", file_content),
]
