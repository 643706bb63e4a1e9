"""The ledger: every run of a study in one SQLite file, written by one process, whole stacks at a time."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

FORMAT = 2
_MAGIC = 0x6E6F6E6C  # "nonl", as SQLite's application_id: tells our files from others

_SCHEMA = """
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE runs (
    key TEXT, step_limit INTEGER,
    dataset TEXT, activation TEXT, kind TEXT, learning_rate REAL, gain TEXT, seed INTEGER, split INTEGER,
    status TEXT NOT NULL, score REAL, validation REAL, validation_loss REAL, steps INTEGER, best INTEGER, ended TEXT,
    seconds REAL, error TEXT, details TEXT NOT NULL, finished REAL NOT NULL,
    PRIMARY KEY (key, step_limit)
);
CREATE TABLE attempts (key TEXT NOT NULL, worker TEXT NOT NULL, started REAL NOT NULL);
CREATE INDEX attempts_of ON attempts (key);
"""


class LedgerError(RuntimeError):
    """The ledger cannot be used or written; the message is one sentence for the user."""


class Ledger:
    """One study file. A context manager; closed, it holds everything that was recorded.

    Parameters
    ----------
    path : path
        Made if it does not exist.
    writable : bool
        A reader neither makes nor changes anything, and may look while a study runs.
    """

    def __init__(self, path: str | os.PathLike[str], *, writable: bool = True) -> None:
        self.path = Path(path)
        self._lock: int | None = None
        if not writable and not self.path.is_file():
            raise LedgerError(f"there is no study {self.path}")
        try:
            if writable:
                self._take()
            # Not "ro": after a process was killed while it wrote, SQLite must undo what is half done before anybody can read.
            mode = "rwc" if writable else "rw"
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            self._db = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)
            if not writable:
                self._db.execute("PRAGMA query_only = 1")
            self._open(writable)
        except sqlite3.Error as error:
            self._release()
            raise self._explained(error) from error
        except OSError as error:
            raise LedgerError(f"cannot open {self.path}: {error.strerror or error}") from error

    def _open(self, writable: bool) -> None:
        magic = self._db.execute("PRAGMA application_id").fetchone()[0]
        empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if empty and writable:
            self._db.executescript(f"BEGIN; PRAGMA application_id = {_MAGIC}; {_SCHEMA} COMMIT;")
            self.note("format", FORMAT)
        elif magic != _MAGIC:
            raise LedgerError(f"{self.path} is not a study of nonlin; choose another file")
        elif self.get("format") != FORMAT:
            raise LedgerError(f"{self.path} was written by another version of nonlin; choose another file, or move it away")

    def _take(self) -> None:
        """Make sure that nobody else writes: two processes would train the same cells."""
        try:
            import fcntl
        except ImportError:  # no such locks on Windows; SQLite's own keep the file whole there
            return
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise LedgerError(
                f"{self.path} is in use by another process; wait for it, or choose another --study file"
            ) from None
        self._lock = descriptor

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _explained(self, error: sqlite3.Error) -> LedgerError:
        text = str(error)
        if "full" in text:
            return LedgerError(f"the disk is full: {self.path} holds all runs that were finished before")
        if "locked" in text or "busy" in text:
            return LedgerError(f"{self.path} is locked by another program; it holds all runs that were finished before")
        if "not a database" in text or "malformed" in text:
            return LedgerError(f"{self.path} is no study file, or a damaged one; choose another file, or move it away")
        return LedgerError(f"{self.path} cannot be used: {text}")

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it may be opened again at once."""
        self._db.close()
        self._release()  # after SQLite: closing any descriptor of the file drops the locks it holds

    def _write(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._explained(error) from error

    # --- what is in it

    def get(self, name: str) -> Any:
        """Return what the study says of itself under a name, or None."""
        try:
            row = self._db.execute("SELECT value FROM study WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            raise self._explained(error) from error
        return None if row is None else json.loads(row[0])

    def note(self, name: str, value: Any) -> None:
        """Have the study say something of itself."""
        self._write("INSERT OR REPLACE INTO study VALUES (?, ?)", [(name, json.dumps(value))])

    def start(self, keys: Iterable[str], worker: str) -> None:
        """Note that runs are under way; an attempt without a run was interrupted."""
        now = time.time()
        self._write("INSERT INTO attempts VALUES (?, ?, ?)", [(key, worker, now) for key in keys])

    def record(self, rows: Iterable[tuple[str, int, Any, dict[str, Any]]]) -> None:
        """Record finished runs, all of them or none: key, the most steps it was allowed, cell and result of each."""
        now = time.time()
        values = []
        for key, limit, cell, result in rows:
            rest = {name: result[name] for name in ("loss", "curve", "health")}
            place = (cell.dataset, cell.activation, cell.kind, cell.learning_rate, cell.gain, cell.seed, cell.split)
            scores = tuple(_finite(result[name]) for name in ("score", "validation", "validation_loss"))
            end = (result["steps"], result["best"], result["ended"], _finite(result["seconds"]), result["error"])
            values.append((key, limit, *place, result["status"], *scores, *end, json.dumps(rest), now))
        self._write(f"INSERT INTO runs VALUES ({', '.join('?' * 20)})", values)

    def interrupted(self) -> int:
        """Return how many starts led to no run."""
        query = "SELECT (SELECT count(*) FROM attempts) - (SELECT count(*) FROM runs)"
        return max(0, int(self._query(query)[0][0]))

    def attempts(self) -> list[tuple[str, str, float]]:
        """Return key, worker and time of every start."""
        return [tuple(row) for row in self._query("SELECT key, worker, started FROM attempts ORDER BY started")]

    def rows(self) -> list[dict[str, Any]]:
        """Return all runs."""
        self._db.row_factory = sqlite3.Row
        try:
            found = [dict(row) for row in self._query("SELECT * FROM runs")]
        finally:
            self._db.row_factory = None
        for row in found:
            row |= json.loads(row.pop("details"))
        return found

    def _query(self, statement: str) -> list[Any]:
        try:
            return self._db.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error


def _finite(value: float | None) -> float | None:
    return None if value is None or value != value or abs(value) == float("inf") else value
