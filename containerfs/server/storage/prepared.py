"""The statements as a database's driver takes them.

SQLAlchemy renders each statement once for each kind of database, and says what its types do to values (JSON). The
driver's own cursor executes it: SQLAlchemy's execution takes several times as long as SQLite takes to run a statement.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Dialect, Executable
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.sql.compiler import SQLCompiler

_Process = Callable[[Any], Any]


class Prepared:
    """A statement for one kind of database.

    Attributes:
        sql: its text, with named parameters.
    """

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # all of ours can be compiled
        assert isinstance(compiled, SQLCompiler)
        self.sql = str(compiled)
        parameters = {name: parameter for parameter, name in compiled.bind_names.items()}
        self._constants = {name: each.value for name, each in parameters.items() if not each.required}
        found = ((name, each.type.dialect_impl(dialect).bind_processor(dialect)) for name, each in parameters.items())
        self._given: dict[str, _Process] = {name: process for name, process in found if process}
        columns = getattr(statement, "selected_columns", ())
        results = (each.type.dialect_impl(dialect).result_processor(dialect, None) for each in columns)
        self._found: list[tuple[int, _Process]] = [(place, process) for place, process in enumerate(results) if process]

    def parameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the driver is to be given for values of the parameters."""
        parameters = {**self._constants, **values}
        for name, process in self._given.items():
            parameters[name] = process(parameters[name])
        return parameters

    def row(self, found: Sequence[Any]) -> Sequence[Any]:
        """Return the values in a row of the driver."""
        if not self._found:
            return found
        row = list(found)
        for place, process in self._found:
            row[place] = process(row[place])
        return row


@cache
def prepared(statement: Executable, dialect: Dialect) -> Prepared:
    return Prepared(statement, dialect)


class Cursor:
    """Executes statements in the transaction that a connection is in."""

    def __init__(self, dialect: Dialect, cursor: DBAPICursor) -> None:
        self.dialect, self._cursor = dialect, cursor

    def run(self, statement: Executable, **values: object) -> int:
        """Execute a change, and return how many rows it has changed."""
        this = prepared(statement, self.dialect)
        self._cursor.execute(this.sql, this.parameters(values))
        return self._cursor.rowcount

    def run_each(self, statement: Executable, rows: Sequence[Mapping[str, object]]) -> int:
        """Execute a change for each of the rows, and return how many it has changed in all."""
        this = prepared(statement, self.dialect)
        self._cursor.executemany(this.sql, [this.parameters(row) for row in rows])
        return self._cursor.rowcount

    def rows(self, statement: Executable, **values: object) -> list[Sequence[Any]]:
        """Execute a query, and return its rows."""
        this = prepared(statement, self.dialect)
        self._cursor.execute(this.sql, this.parameters(values))
        return [this.row(found) for found in self._cursor.fetchall()]

    def row(self, statement: Executable, **values: object) -> Sequence[Any] | None:
        """Return the first row of a query, if it has any."""
        rows = self.rows(statement, **values)
        return rows[0] if rows else None
