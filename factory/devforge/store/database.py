"""forge.db: one writer at a time under one lock, readers on snapshots of their own.

A thread that writes holds the lock (:meth:`Store.exclusive`) and uses the writer connection for its reads too; all
others read through a connection of their thread. ``tx`` nests: only the outermost commits.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from factory.devforge.store.events import Event
from factory.devforge.store.schema import MIGRATIONS, SCHEMA, VERSION

Row = sqlite3.Row
T = TypeVar("T")


def build(kind: Callable[..., T], row: Row) -> T:
    """A value whose fields are named like the columns."""
    return kind(**dict(row))


class Store:
    """The forge's state below ``home``. Methods are safe from any thread."""

    def __init__(self, home: Path, *, strict: bool = True, clock: Callable[[], float] = time.time) -> None:
        self.home = home
        self.strict = strict
        """False: Forgejo's own codes also where the embedded forge answers more clearly."""
        self.root_url = ""
        self.clock = clock
        self._lock = threading.RLock()
        self._local = threading.local()
        self._depth = 0
        self._owner: int | None = None
        self._afterwards: list[Callable[[], None]] = []
        self._checking_until: dict[int, float] = {}
        self.wake_deliverer: Callable[[], None] = lambda: None
        self.listener: Callable[[Event], None] = lambda _event: None
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in ("repos", "assets"):
            (home / folder).mkdir(exist_ok=True)
        self._writer = self._connect(cache_kib=2000)
        self._migrate()

    def _connect(self, cache_kib: int) -> sqlite3.Connection:
        made = sqlite3.connect(self.home / "forge.db", isolation_level=None, check_same_thread=False, timeout=10)
        made.row_factory = sqlite3.Row
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("PRAGMA synchronous=NORMAL")
        made.execute("PRAGMA foreign_keys=ON")
        made.execute(f"PRAGMA cache_size=-{cache_kib}")
        return made

    def _migrate(self) -> None:
        (found,) = self._writer.execute("PRAGMA user_version").fetchone()
        if found > VERSION:
            raise RuntimeError(f"{self.home / 'forge.db'} has schema {found}, this forge knows {VERSION}")
        for version in range(found, VERSION):
            self._writer.execute("BEGIN IMMEDIATE")
            for statement in (MIGRATIONS[version] if version else SCHEMA).split(";\n"):
                if statement.strip():
                    self._writer.execute(statement)
            self._writer.execute(f"PRAGMA user_version={version + 1}")
            self._writer.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer.close()

    # ------------------------------------------------------------ writing

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else writes meanwhile, whether rows or refs. Reentrant."""
        with self._lock:
            before, self._owner = self._owner, threading.get_ident()
            try:
                yield
            finally:
                self._owner = before

    @contextmanager
    def tx(self) -> Iterator[None]:
        """All writes inside are committed together, or none. Functions given to ``after_commit`` run at the end."""
        with self.exclusive():
            if self._depth == 0:
                self._afterwards = []
                self._writer.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._roll_back()
                raise
            self._depth -= 1
            if self._depth == 0:
                try:
                    self._writer.execute("COMMIT")
                except sqlite3.Error:
                    self._roll_back()
                    raise
                afterwards, self._afterwards = self._afterwards, []
                for action in afterwards:
                    action()

    def _roll_back(self) -> None:
        if self._writer.in_transaction:  # SQLite rolls back by itself when the disk is full
            self._writer.execute("ROLLBACK")

    def after_commit(self, action: Callable[[], None]) -> None:
        """Run ``action`` once the surrounding transaction is durable (at once when there is none)."""
        if self._owner == threading.get_ident() and self._depth:
            self._afterwards.append(action)
        else:
            action()

    def run(self, sql: str, *args: Any) -> int:
        """One writing statement, inside the transaction of this thread; returns the new row's id."""
        with self.tx():
            return int(self._writer.execute(sql, args).lastrowid or 0)

    def insert(self, table: str, **fields: Any) -> int:
        """Insert one row; returns its id."""
        names = ", ".join(fields)
        marks = ", ".join("?" * len(fields))
        return self.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", *fields.values())  # noqa: S608

    def update(self, table: str, row_id: int, *, key: str = "id", **fields: Any) -> None:
        """Set columns of one row."""
        if fields:
            assignments = ", ".join(f"{name} = ?" for name in fields)
            self.run(f"UPDATE {table} SET {assignments} WHERE {key} = ?", *fields.values(), row_id)  # noqa: S608

    def notify(self, event: Event) -> None:
        """Tell the listener what happened, as part of the transaction that did it."""
        with self.tx():
            self.listener(event)

    # ------------------------------------------------------------ reading

    @property
    def _db(self) -> sqlite3.Connection:
        if self._owner == threading.get_ident():
            return self._writer
        reader: sqlite3.Connection | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self._connect(cache_kib=300)
            reader.execute("PRAGMA query_only=ON")
        return reader

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one moment. Not for threads that write inside."""
        reader = self._db
        if reader is self._writer or reader.in_transaction:
            yield
            return
        reader.execute("BEGIN")
        try:
            yield
        finally:
            reader.execute("ROLLBACK")

    def all(self, sql: str, *args: Any) -> list[Row]:
        return self._db.execute(sql, args).fetchall()

    def one(self, sql: str, *args: Any) -> Row | None:
        row: Row | None = self._db.execute(sql, args).fetchone()
        return row

    def value(self, sql: str, *args: Any) -> Any:
        """First column of the first row, None without rows."""
        row = self.one(sql, *args)
        return None if row is None else row[0]

    # ------------------------------------------------------------ the window Forgejo has and we do not

    def check_for(self, repo_id: int, seconds: float) -> None:
        """Behave for a while as Forgejo does while it re-tests pull requests: a knob for tests."""
        self._checking_until[repo_id] = self.clock() + seconds

    def checking(self, repo_id: int) -> bool:
        return self._checking_until.get(repo_id, 0.0) > self.clock()

    # ------------------------------------------------------------ places and time

    def now(self) -> int:
        return int(self.clock())

    def repo_path(self, owner: str, name: str) -> Path:
        """Where a repo lies; names are stored in lower case so that they are one per name in any case."""
        return self.home / "repos" / owner.lower() / f"{name.lower()}.git"
