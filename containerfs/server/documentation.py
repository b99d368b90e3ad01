"""The API's description as a page for people: a single file, without scripts or resources from other servers."""

from collections.abc import Iterator
from functools import cache
from html import escape

from containerfs.server.openapi import Json, document

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
{description}
</html>
"""


@cache
def page() -> str:
    """Return the page as HTML. It is rendered once."""
    return _PAGE.format(description=description())


def description() -> str:
    """Return the operations and objects as a piece of HTML."""
    described = document()
    operations = (
        _operation(method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    )
    schemas = (_schema(name, schema) for name, schema in described["components"]["schemas"].items())
    return "\n".join(["<h2>Operations</h2>", *operations, "<h2>Objects</h2>", *schemas])


def _operation(method: str, path: str, operation: Json) -> str:
    answer = " or ".join(map(_kind, _contents(operation["responses"]["200"])))
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code><td>{parameter['in']}<td>{_kind(parameter['schema'])}"
        for parameter in operation["parameters"]
    )
    rows += "".join(f"<tr><td>body<td><td>{_kind(schema)}" for schema in _contents(operation.get("requestBody", {})))
    return (
        f"<h3><code>{method} {path}</code></h3><p>{escape(operation['summary'])} Answers {answer}.</p>"
        f"<table>{rows}</table>"
    )


def _contents(message: Json) -> Iterator[Json]:
    """Yield the schema of a body or answer for each of its media types."""
    for content in message.get("content", {}).values():
        yield content["schema"]


def _schema(name: str, schema: Json) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_kind(kind)}" for field, kind in schema["properties"].items()
    )
    return f"<h3 id='{name}'>{name}</h3><table>{rows}</table>"


def _kind(schema: Json) -> str:
    """Describe a schema in a few words."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"<a href='#{name}'>{name}</a>"
    if variants := schema.get("anyOf"):
        return " or ".join(map(_kind, variants))
    if choices := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return " or ".join(f"<code>{escape(str(choice))}</code>" for choice in choices)
    if fields := schema.get("properties"):
        return ", ".join(f"<code>{escape(name)}</code>: {_kind(kind)}" for name, kind in fields.items())
    if schema.get("format") == "binary":
        return "bytes"
    kinds = schema.get("type", "anything")
    text = escape(" or ".join(kinds) if isinstance(kinds, list) else kinds)
    return f"{text} of {_kind(schema['items'])}" if "items" in schema else text
