"""The service described as OpenAPI 3.1, from the models that it reads and writes; and the same as a page for people.

Source: OpenAPI 3.1.0. A test holds every answer of the conformance suite against this description.
"""

from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from containerfs.api.models import Container, ContainerFile, Deletion, File, ListPage
from containerfs.server.requests import CopyFile, CreateContainer

Json = dict[str, Any]

_BINARY: Json = {"type": "string", "format": "binary"}

_LISTING: Json = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "order": {"enum": ["asc", "desc"], "default": "desc", "description": "By time of creation."},
    "after": {"type": "string", "description": "The id of the item that the page follows."},
}

_UPLOAD: Json = {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}

_FILE_UPLOAD: Json = {
    "type": "object",
    "properties": {
        "file": _BINARY,
        "purpose": {"type": "string", "minLength": 1, "maxLength": 64},
        "expires_after[anchor]": {"const": "created_at"},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
    "required": ["file", "purpose"],
}

_RESPONSES: Json = {
    "400": "The request is malformed, or asks for what is not allowed.",
    "401": "No API key, or an unknown one.",
    "403": "A web page of another site asks, and the server has no keys.",
    "404": "There is no such container or file.",
    "405": "There is no such operation.",
    "408": "The request did not arrive in time.",
    "409": "The Idempotency-Key was used with a different request.",
    "413": "The request is larger than this server takes.",
    "415": "The body is of a kind that this operation does not take.",
    "500": "The server failed.",
    "507": "The server has no space left.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint. ``answers`` is the model of its answer, None for content; bodies are by media type."""

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
        query={**_LISTING, "name": {"type": "string", "description": "Only those of exactly this name."}},
    ),
    Operation("GET", "/v1/containers/{container_id}", "Retrieve a container.", Container),
    Operation("DELETE", "/v1/containers/{container_id}", "Delete a container and its files.", Deletion),
    Operation(
        "POST",
        "/v1/containers/{container_id}/files",
        "Upload a file into a container, or copy one there; a file of the same path is replaced.",
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
    Operation("DELETE", "/v1/containers/{container_id}/files/{file_id}", "Delete a file of a container.", Deletion),
    Operation("GET", "/v1/containers/{container_id}/files/{file_id}/content", "The content of a file.", None),
    Operation("POST", "/v1/files", "Upload a file.", File, form=_FILE_UPLOAD),
    Operation(
        "GET",
        "/v1/files",
        "List files.",
        ListPage[File],
        query={**_LISTING, "purpose": {"type": "string", "description": "Only those of this purpose."}},
    ),
    Operation("GET", "/v1/files/{file_id}", "Retrieve a file.", File),
    Operation("DELETE", "/v1/files/{file_id}", "Delete a file; copies of it in containers stay.", Deletion),
    Operation("GET", "/v1/files/{file_id}/content", "The content of a file.", None),
)


@cache
def document() -> Json:
    """The description, as JSON."""
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


@cache
def page() -> str:
    """The description, as a page."""
    operations = "\n".join(_section(operation) for operation in OPERATIONS)
    schemas = "\n".join(_schema_section(name, schema) for name, schema in document()["components"]["schemas"].items())
    return _PAGE.format(operations=operations, schemas=schemas)


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
        good = {"200": _answer("As asked.", "application/json", _reference(operation.answers))}
    else:
        good = {
            "200": _answer("The bytes.", "*/*", _BINARY),
            "206": _answer("The range that was asked for.", "*/*", _BINARY),
            "304": {"description": "The content is what If-None-Match names."},
            "416": {"description": "The range is after the end."},
        }
    error = {"$ref": "#/components/schemas/Error"}
    return good | {status: _answer(text, "application/json", error) for status, text in _RESPONSES.items()}


def _answer(description: str, media_type: str, schema: Json) -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{_schema_name(model)}"}


def _schema_name(model: type[BaseModel]) -> str:
    """As pydantic names it: ``ListPage[File]`` is ``ListPage_File_``."""
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
        # The models forgive what other services leave out. Ours leaves out only what may be null.
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


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>containerfs: the API</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }}
  code {{ background: #8882; padding: 0 .2em }}
  td, th {{ text-align: left; vertical-align: top; padding: .1rem 1rem .1rem 0 }}
</style>
<h1>containerfs: the API</h1>
<p>For programs: <a href="/openapi.json">openapi.json</a>. Give a key, where the server asks for one, as
<code>Authorization: Bearer KEY</code>.</p>
<h2>Operations</h2>
{operations}
<h2>Objects</h2>
{schemas}
</html>
"""


def _section(operation: Operation) -> str:
    described = _operation(operation)
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code><td>{parameter['in']}<td>{_kind(parameter['schema'])}"
        for parameter in described["parameters"]
    )
    bodies = described.get("requestBody", {}).get("content", {})
    rows += "".join(f"<tr><td>body<td>{escape(kind)}<td>{_kind(body['schema'])}" for kind, body in bodies.items())
    answer = f"Answers {_link(_schema_name(operation.answers))}." if operation.answers else "Answers the bytes."
    title = f"<h3 id='{operation.method}-{operation.path}'><code>{operation.method} {operation.path}</code></h3>"
    return f"{title}<p>{escape(operation.summary)} {answer}</p><table>{rows}</table>"


def _schema_section(name: str, schema: Json) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_kind(kind)}<td>{escape(kind.get('description', ''))}"
        for field, kind in schema.get("properties", {}).items()
    )
    return f"<h3 id='{name}'>{name}</h3><table>{rows}</table>"


def _kind(schema: Json) -> str:
    """A schema in a few words."""
    if reference := schema.get("$ref"):
        return _link(reference.rpartition("/")[2])
    if variants := _variants(schema):
        return " or ".join(map(_kind, variants))
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return " or ".join(f"<code>{escape(str(choice))}</code>" for choice in choices)
    if "properties" in schema and "$ref" not in schema:
        return ", ".join(f"<code>{escape(name)}</code>: {_kind(kind)}" for name, kind in schema["properties"].items())
    kinds = schema.get("type", "anything")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return f"{text} of {_kind(schema['items'])}" if "items" in schema else escape(text)


def _link(name: str) -> str:
    return f"<a href='#{name}'>{name}</a>"
