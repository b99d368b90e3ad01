"""The seed document holds: its examples run, with the SDK and with ours, and its signatures are ours."""

import ast
import inspect
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

import containerfs
from containerfs import AsyncClient, Client
from tests.server.live import LiveServer, running_server

DOCUMENT = Path(__file__).parents[2].with_name("shared") / "000_069b33466d4b6bd0.txt"
if not DOCUMENT.exists():
    pytest.skip(f"the document is not here: {DOCUMENT}", allow_module_level=True)
BLOCKS = re.findall(r"^```python( \{ \.api \})?\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
# PEP 695's brackets are for Python 3.12 and later.
API = [code.replace("[T]:", ":") for marked, code in BLOCKS if marked]
ACCESS_PATTERN = [code for marked, code in BLOCKS if not marked and "(...)" in code]
EXAMPLES = [code for marked, code in BLOCKS if not marked and "(...)" not in code]

IMPORTS = {
    "from openai import OpenAI": "from containerfs import Client as OpenAI",
    "from openai import AsyncOpenAI": "from containerfs import AsyncClient as AsyncOpenAI",
}

KNOWN_FILES = ["file-abc123", "file-def456", "file-log1", "file-log2", "file-log3"]
KNOWN_CONTAINER, ITS_FILE = "container-abc123", "file-def456"
LOCAL_FILES = ["document1.pdf", "document2.pdf", "model_training.py", "api_docs.md"]


Said = list[list[str]]
"""Lines, by example."""

RUNNER = """
import contextlib, gc, io, json, sys
for example in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(example, {"__name__": "__main__"})
    print(json.dumps(said.getvalue()))
    gc.collect()
"""
"""Runs examples one after the other; one process for all, because most of the time goes into importing the SDK.

They leave files open. Python warns of it when it collects them, and a warning in the midst of an import can break that:
it adds a name to the importing module, through whose names Python's enum may be walking.
"""


def with_our_import(example: str) -> str:
    lines = [IMPORTS.get(line, line) for line in example.splitlines()]
    assert sum(line not in example.splitlines() for line in lines) == 1
    return "\n".join(lines)


def run_all(directory: Path, examples: list[str]) -> Said:
    """Run examples in the document's order against one server; what each says, with ids and times reduced to kinds."""
    for name in LOCAL_FILES:
        (directory / name).write_bytes(name.encode())
    with prepared_server(directory) as server:
        environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "-"}
        command = [sys.executable, "-c", RUNNER]
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            input=json.dumps(examples),
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [[general(line) for line in json.loads(said).splitlines()] for said in done.stdout.splitlines()]


def general(line: str) -> str:
    line = re.sub(r"\b(cntr_|cfile_|file-)\w{8,}", r"\1...", line)
    line = re.sub(r"\b17\d{8}\b", "...", line)
    return re.sub(r"^File info: .*id='cfile_.*", "File info: ...", line)


@contextmanager
def prepared_server(directory: Path) -> Iterator[LiveServer]:
    """A server that holds what the document takes for granted, under the ids that it uses."""
    store = directory / "store"
    with running_server(store) as server, OpenAI(base_url=server.base_url, api_key="-") as client:
        given = {
            client.files.create(file=(f"{id}.txt", id.encode()), purpose="assistants").id: id for id in KNOWN_FILES
        }
        source = next(given_id for given_id, id in given.items() if id == ITS_FILE)
        given[client.containers.create(name="known", file_ids=[source]).id] = KNOWN_CONTAINER
    (database,) = store.glob("*.sqlite*")
    with closing(sqlite3.connect(database)) as connection, connection:
        for given_id, id in given.items():
            for column in ("files.id", "containers.id", "container_files.container_id", "container_files.file_id"):
                table, name = column.split(".")
                connection.execute(f"UPDATE {table} SET {name} = ? WHERE {name} = ?", (id, given_id))
    with running_server(store) as server:
        yield server


@pytest.fixture(scope="module")
def with_the_sdk(tmp_path_factory: pytest.TempPathFactory) -> Said:
    return run_all(tmp_path_factory.mktemp("sdk"), EXAMPLES)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ours")


@pytest.fixture(scope="module")
def with_ours(directory: Path) -> Said:
    return run_all(directory, [with_our_import(example) for example in EXAMPLES])


def test_the_document_is_what_these_tests_take_it_for() -> None:
    assert (len(EXAMPLES), len(API), len(ACCESS_PATTERN)) == (6, 7, 1)


def test_the_examples_run_verbatim_with_the_sdk(with_the_sdk: Said) -> None:
    assert len(with_the_sdk) == len(EXAMPLES)


@pytest.mark.parametrize("number", range(6))
def test_an_example_does_the_same_with_ours(with_the_sdk: Said, with_ours: Said, number: int) -> None:
    assert with_ours[number] == with_the_sdk[number]


def test_the_workflow_says_what_the_document_means(with_ours: Said) -> None:
    (said,) = (said for said in with_ours if "Files in container:" in said)
    assert said[:4] == ["Created container: cntr_...", "Files in container:", "  - cfile_...", "  - cfile_..."]
    assert "Remaining files: 1" in said
    assert said[-1] == "Original file still exists: file-..."


@pytest.mark.usefixtures("with_ours")
def test_the_content_is_saved(directory: Path) -> None:
    assert (directory / "downloaded_file.pdf").read_bytes() == ITS_FILE.encode()


def documented_methods() -> Iterator[tuple[str, ast.FunctionDef]]:
    """The document's signatures, by the path of their method."""
    prefix = "containers"
    for code in API:
        access = re.match(r"# Access via client\.([\w.]+)", code)
        prefix = access[1] if access else prefix
        for node in ast.parse(code).body:
            if isinstance(node, ast.FunctionDef):
                yield f"{prefix}.{node.name}", node


METHODS = dict(documented_methods())


def test_the_document_describes_nine_methods() -> None:
    assert len(METHODS) == 9


@pytest.mark.parametrize("path", METHODS)
def test_a_documented_signature_is_ours(client: Client, path: str) -> None:
    documented = METHODS[path].args
    ours = inspect.signature(bound(client, path)).parameters
    positional = [name for name, parameter in ours.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert positional == [argument.arg for argument in documented.args[1:]]
    assert {argument.arg for argument in documented.kwonlyargs} <= set(ours)
    required = {name for name, parameter in ours.items() if parameter.default is parameter.empty}
    optional = [
        argument.arg for argument, default in zip(documented.kwonlyargs, documented.kw_defaults, strict=True) if default
    ]
    assert required.isdisjoint(optional)


@pytest.mark.parametrize("path", re.findall(r"^(?:await )?client\.([\w.]+)\(\.\.\.\)", ACCESS_PATTERN[0], re.MULTILINE))
def test_every_documented_path_leads_to_a_method(client: Client, path: str) -> None:
    assert callable(bound(client, path))
    assert callable(bound(AsyncClient(base_url=client.base_url), path))


def bound(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name)
    return client


def test_the_documented_types_are_ours() -> None:
    types = [node for code in API for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]
    assert {node.name for node in types} <= set(dir(containerfs))
    for name in ("Container", "ContainerFile"):
        (node,) = (node for node in types if node.name == name)
        fields = [field.target.id for field in node.body if isinstance(field, ast.AnnAssign)]  # type: ignore[union-attr]
        assert set(fields) <= set(getattr(containerfs, name).model_fields)
