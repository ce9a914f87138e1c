"""Log lines leave through a bounded queue and one thread, so that no stream holds up or breaks a request."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections import deque
from threading import Condition, Thread
from time import sleep
from typing import Generic, TypeVar

from sltt_core.base.timestamps import now_utc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

Item = TypeVar("Item")

MAX_LINES = 10_000
"""Lines that wait for a stream; further ones are dropped and counted."""
BATCH_LINES = 200
"""Lines that are written with one call."""
FLUSH_SECONDS = 1.0
"""How long the stop waits for lines that are still in the queue."""
IDLE_SECONDS = 5.0
"""How long a writer thread waits for the next line before it ends."""
RETRY_SECONDS = 0.01
"""Pause before a non-blocking stream that is full is tried again."""
LOGGERS = ("sltt.server", "uvicorn.error", "asyncio")
"""What reports errors of the server; the last two do it on the event loop."""


class BackgroundWriter(Generic[Item]):
    """Calls `write` on a thread of its own with what `put` accepted. Safe for threads."""

    def __init__(self, write: Callable[[Sequence[Item], int], None], max_lines: int = MAX_LINES) -> None:
        """`write` gets the next items, in order, and how many were dropped before; it may block or raise."""
        self._write = write
        self._max_lines = max_lines
        self._items: deque[Item] = deque()
        self._dropped = 0
        self.dropped_in_all = 0
        """How many items were dropped since the start."""
        self._busy = False
        self._thread: Thread | None = None
        self._changed = Condition()

    @property
    def dropped(self) -> int:
        """How many items were dropped and not reported yet: the queue was full, or writing them failed."""
        return self._dropped

    def put(self, item: Item) -> None:
        """Queue an item, or drop it when the queue is full. Never blocks for the stream and never raises."""
        with self._changed:
            if len(self._items) >= self._max_lines:
                self._dropped += 1
                self.dropped_in_all += 1
                return
            self._items.append(item)
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, name="sltt-log", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # no thread can be started now; a later item tries again
                    self._thread = None
            self._changed.notify_all()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all items are written or dropped, at most so long; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._items and not self._busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                if not self._changed.wait_for(lambda: self._items, IDLE_SECONDS):
                    self._thread = None
                    return
                items = [self._items.popleft() for _ in range(min(BATCH_LINES, len(self._items)))]
                dropped, self._dropped = self._dropped, 0
                self._busy = True
            try:
                self._write(items, dropped)
            except Exception:  # whatever a stream or a handler raises; the next batch may succeed
                with self._changed:
                    self._dropped += dropped + len(items)
                    self.dropped_in_all += len(items)


def line_writer(
    stream: TextIO | None, describe_dropped: Callable[[int], str], max_lines: int = MAX_LINES
) -> BackgroundWriter[str]:
    """Return a writer of lines to a stream; `None`, a process without one, drops every line."""

    def write(lines: Sequence[str], dropped: int) -> None:
        if stream is not None:
            report = [describe_dropped(dropped)] if dropped else []
            write_text(stream, "".join(f"{line}\n" for line in [*lines, *report]))

    return BackgroundWriter(write, max_lines)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a person reads the stream."""
    try:
        return stream is not None and stream.isatty()
    except Exception:  # closed, or not quite a stream
        return False


def write_text(stream: TextIO, text: str) -> None:
    """Write to a stream, past its buffer where it has a file descriptor.

    A thread that blocks in a buffer keeps the buffer's lock, and the interpreter could not end. Raises what the
    stream raises.
    """
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if type(stream) is not io.TextIOWrapper or not isinstance(raw, io.FileIO):
        stream.write(text)
        stream.flush()
        return
    data = memoryview(text.encode(stream.encoding, "backslashreplace"))
    while data:
        written = raw.write(data)
        if written is None:  # non-blocking, and full
            sleep(RETRY_SECONDS)
        else:
            data = data[written:]


class ServerReports(logging.Filter):
    """Lets the records of the server's loggers be handled on another thread, by the handlers there are.

    Where the program has configured no handler, they are written to `sys.stderr`; uvicorn's errors always are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._records = BackgroundWriter(_handle_records)

    def attach(self) -> None:
        """Begin to take over the records."""
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def detach(self) -> None:
        """Wait a moment for what is queued, and take over no more."""
        self._records.flush()
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Queue a record that comes from its logger; let one pass that comes from the queue."""
        if not hasattr(record, "sltt_queued"):
            record.sltt_queued = True
            self._records.put(record)
            return False
        return True


def _handle_records(records: Sequence[logging.LogRecord], dropped: int) -> None:
    if dropped:
        values = {"name": LOGGERS[0], "levelno": logging.ERROR, "levelname": "ERROR", "sltt_queued": True}
        report = logging.makeLogRecord({**values, "msg": "%d log records were dropped", "args": (dropped,)})
        records = [*records, report]
    for record in records:
        logger = logging.getLogger(record.name)
        handled = logger.hasHandlers()
        if handled:
            logger.handle(record)
        if sys.stderr is not None and not (handled and record.name != "uvicorn.error"):
            formatter = _FORMATTER if is_terminal(sys.stderr) else _JSON
            write_text(sys.stderr, formatter.format(record) + "\n")


class _JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, like the lines of the access log."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": now_utc(lambda: int(record.created * 1e9)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


_FORMATTER = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
_JSON = _JsonFormatter()
