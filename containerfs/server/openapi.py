"""The OpenAPI 3.1 description of the service, made from the models that it reads and writes.

Source: OpenAPI 3.1.0. A test checks every answer of the conformance suite against this description.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from containerfs.api.models import Container, ContainerFile, Deletion, File, ListPage
from containerfs.server.requests import WITHOUT_NUL, Attributes, CopyFile, CreateContainer, RenameContainer, UpdateFile

Json = dict[str, Any]

_BINARY: Json = {"type": "string", "format": "binary"}

_LISTING: Json = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "order": {"enum": ["asc", "desc"], "default": "desc", "description": "By time of creation."},
    "after": {"type": "string", "minLength": 1, "description": "The id of the item that the page follows."},
}

_FILE_LIMIT: Json = {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 10_000}

_UPLOAD: Json = {
    "type": "object",
    "properties": {"file": _BINARY, "attributes": Attributes.model_json_schema()},
    "required": ["file"],
}

_FILE_UPLOAD: Json = {
    "type": "object",
    "properties": {
        "file": _BINARY,
        "purpose": {"type": "string", "minLength": 1, "maxLength": 64, **WITHOUT_NUL},
        "expires_after": {
            "type": "object",
            "description": "One part with JSON, or parts expires_after[anchor] and expires_after[seconds].",
            "properties": {
                "anchor": {"const": "created_at"},
                "seconds": {"type": "integer", "minimum": 3600, "maximum": 2592000},
            },
            "required": ["anchor", "seconds"],
        },
    },
    "required": ["file", "purpose"],
}

_RESPONSES: Json = {
    "400": "The request is malformed, or asks for something that is not allowed.",
    "401": "No API key, or an unknown one.",
    "403": "The key may only read; or the server has no keys, and Host or Origin is not this machine's.",
    "404": "There is no such container or file.",
    "405": "There is no such operation.",
    "408": "The request did not arrive in time.",
    "409": "The Idempotency-Key was used with a different request, or an ambiguous file name is taken.",
    "413": "The request is larger than this server accepts, or its file is larger than the whole quota.",
    "415": "This operation does not take bodies of this kind, or the body is compressed.",
    "500": "The server failed.",
    "503": "The server has too many connections or open files, or its store does not answer.",
    "507": "The server has no space left, or the namespace has reached its quota.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint.

    Attributes:
        summary: one sentence.
        answers: the model of its answer; None for content.
        query: the schemas of its query parameters.
        json: the model of its JSON body, if it takes one.
        form: the schema of its form, if it takes one.
    """

    method: str
    path: str
    summary: str
    answers: type[BaseModel] | None
    query: Json | None = None
    json: type[BaseModel] | None = None
    form: Json | None = None


OPERATIONS = (
    Operation("POST", "/v1/containers", "Create a container.", Container, json=CreateContainer),
    Operation(
        "GET",
        "/v1/containers",
        "List containers.",
        ListPage[Container],
        query={**_LISTING, "name": {"type": "string", "description": "Only containers with exactly this name."}},
    ),
    Operation("GET", "/v1/containers/{container_id}", "Retrieve a container.", Container),
    Operation("POST", "/v1/containers/{container_id}", "Rename a container.", Container, json=RenameContainer),
    Operation("DELETE", "/v1/containers/{container_id}", "Delete a container and its files.", Deletion),
    Operation(
        "POST",
        "/v1/containers/{container_id}/files",
        "Upload a file into a container, or copy one there. A file with the same path is replaced.",
        ContainerFile,
        json=CopyFile,
        form=_UPLOAD,
    ),
    Operation(
        "GET",
        "/v1/containers/{container_id}/files",
        "List the files of a container.",
        ListPage[ContainerFile],
        query=_LISTING,
    ),
    Operation("GET", "/v1/containers/{container_id}/files/{file_id}", "Retrieve a file of a container.", ContainerFile),
    Operation(
        "POST",
        "/v1/containers/{container_id}/files/{file_id}",
        "Replace the attributes of a file of a container.",
        ContainerFile,
        json=UpdateFile,
    ),
    Operation("DELETE", "/v1/containers/{container_id}/files/{file_id}", "Delete a file of a container.", Deletion),
    Operation("GET", "/v1/containers/{container_id}/files/{file_id}/content", "The content of a file.", None),
    Operation("POST", "/v1/files", "Upload a file.", File, form=_FILE_UPLOAD),
    Operation(
        "GET",
        "/v1/files",
        "List files.",
        ListPage[File],
        query={
            **_LISTING,
            "limit": _FILE_LIMIT,
            "purpose": {"type": "string", "description": "Only files with this purpose."},
        },
    ),
    Operation("GET", "/v1/files/{file_id}", "Retrieve a file.", File),
    Operation("DELETE", "/v1/files/{file_id}", "Delete a file; copies of it in containers stay.", Deletion),
    Operation("GET", "/v1/files/{file_id}/content", "The content of a file.", None),
)


@cache
def document() -> Json:
    """Return the description as JSON. It is made once."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "containerfs", "version": "1", "description": "Containers: isolated, expiring file stores."},
        "paths": paths,
        "components": {
            "schemas": {**_schemas(), "Error": _error()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _operation(operation: Operation) -> Json:
    described: Json = {"summary": operation.summary, "parameters": _parameters(operation)}
    bodies = {}
    if operation.json:
        bodies["application/json"] = {"schema": _reference(operation.json)}
    if operation.form:
        bodies["multipart/form-data"] = {"schema": operation.form}
    if bodies:
        described["requestBody"] = {"required": True, "content": bodies}
    described["responses"] = _answers(operation)
    return described


def _parameters(operation: Operation) -> list[Json]:
    names = [segment.strip("{}") for segment in operation.path.split("/") if segment.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in (operation.query or {}).items()]
    if operation.method == "POST":
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}})
    return parameters


def _answers(operation: Operation) -> Json:
    if operation.answers:
        good = {"200": _answer("Success.", "application/json", _reference(operation.answers))}
    else:
        good = {
            "200": _answer("The bytes.", "*/*", _BINARY),
            "206": _answer("The requested range.", "*/*", _BINARY),
            "304": {"description": "The content is the one that If-None-Match names."},
            "416": {"description": "The range starts after the end of the content."},
        }
    error = {"$ref": "#/components/schemas/Error"}
    return good | {status: _answer(text, "application/json", error) for status, text in _RESPONSES.items()}


def _answer(description: str, media_type: str, schema: Json) -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{_schema_name(model)}"}


def _schema_name(model: type[BaseModel]) -> str:
    """Return the name that pydantic gives a model's schema: ``ListPage_File_`` for ``ListPage[File]``."""
    return model.__name__.replace("[", "_").replace("]", "_")


@cache
def _schemas() -> dict[str, Json]:
    answers = [operation.answers for operation in OPERATIONS if operation.answers]
    bodies = [operation.json for operation in OPERATIONS if operation.json]
    _, generated = models_json_schema(
        [*((model, "serialization") for model in answers), *((model, "validation") for model in bodies)],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Json] = generated["$defs"]
    for name in map(_schema_name, answers):
        # The models tolerate fields that other services leave out. This one only leaves out fields that may be null.
        schemas[name]["required"] = [
            field for field, schema in schemas[name]["properties"].items() if {"type": "null"} not in _variants(schema)
        ]
    return schemas


def _variants(schema: Json) -> list[Json]:
    variants: list[Json] = schema.get("anyOf", [])
    return variants


def _error() -> Json:
    nullable = {"type": ["string", "null"]}
    fields = {"message": {"type": "string"}, "type": {"type": "string"}, "param": nullable, "code": nullable}
    error = {"type": "object", "properties": fields, "required": list(fields)}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}
