"""Snapshots of the SQLite file: connections that read, each lent to one thread at a time."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager

from sltt_core.sqlite import file as sqlite_file
from sltt_core.sqlite.database import Reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sltt_core.sqlite.database import Database


class Readers(Reserve):
    """The reading connections of a storage. As many are opened as threads read at once, and kept until `close`."""

    __slots__ = ()
    _database: Database

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection on which every read sees the same moment of the file.

        Raises `StorageError` when the readers are closed, `StorageUnavailable` when the path leads to another file,
        and the errors of `sltt_core.sqlite.file.explain` in place of SQLite's own. A connection that failed is closed.
        """
        self._database.check()
        connection = self.borrow()
        try:
            connection.text_factory = str  # an interrupted borrower may have left another
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.drop(connection)
            raise sqlite_file.explain(error, self._database.path) from error
        except BaseException:
            self.drop(connection)
            raise
        self.give_back(connection)
