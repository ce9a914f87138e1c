"""The tables of the SQLite file, its format, and the steps from one format to the next."""

from __future__ import annotations

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Upgrades = Sequence[Sequence[str]]
    """The first element takes a file from format 1 to 2, the second from 2 to 3, and so on: SQL statements each."""

APPLICATION_ID = 0x534C5454
"""`SLTT`, in the file's header."""
SEQ_BITS = 40
"""`changes.id` is the number of the log (`logs.log`), shifted left by this many bits, plus the sequence number."""
MAX_LOG = (1 << 63 - SEQ_BITS) - 1
"""The greatest number of a log that `changes.id` has room for: 8,388,607 projects in a file."""

CALENDAR = """CREATE TABLE calendar (                    -- one row
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    last_day    INTEGER NOT NULL,          -- the latest day of a write: days since 1970
    days        INTEGER NOT NULL           -- how often last_day was set
)"""
START = "INSERT INTO calendar VALUES (1, 0, 0)"
MEMBERS = """CREATE TABLE members (                     -- follows from the changes of the type sltt.member
    project_id  TEXT NOT NULL,
    principal   TEXT NOT NULL,
    role        TEXT NOT NULL,
    since       INTEGER NOT NULL,          -- the number of the change that granted it
    PRIMARY KEY (project_id, principal)
) WITHOUT ROWID"""
MEMBERSHIPS = "CREATE INDEX memberships ON members (principal, project_id) WHERE role <> 'none'"
KEPT = """,
    kept        INTEGER NOT NULL DEFAULT 0 -- kept until calendar.days is greater"""
TOKENS = f"""CREATE TABLE tokens (                      -- device tokens; the secrets are not stored
    id          TEXT PRIMARY KEY,
    hash        TEXT NOT NULL,             -- the SHA-256 of the secret, in hexadecimal digits
    project_id  TEXT NOT NULL,
    role        TEXT NOT NULL,             -- as granted first; members has the current one
    created_by  TEXT,
    created_at  TEXT NOT NULL,
    expires     INTEGER NOT NULL,          -- seconds since 1970
    principal   TEXT NOT NULL,
    name        TEXT NOT NULL,
    revoked_at  TEXT{KEPT}
) WITHOUT ROWID"""
TOKENS_BY_PROJECT = "CREATE INDEX tokens_by_project ON tokens (project_id, id)"
INVITATIONS = f"""CREATE TABLE invitations (                 -- the secrets are not stored
    id          TEXT PRIMARY KEY,
    hash        TEXT NOT NULL,             -- the SHA-256 of the secret, in hexadecimal digits
    project_id  TEXT NOT NULL,
    role        TEXT NOT NULL,
    created_by  TEXT,
    created_at  TEXT NOT NULL,
    expires     INTEGER NOT NULL,          -- seconds since 1970
    uses        INTEGER NOT NULL{KEPT}
) WITHOUT ROWID"""
INVITATIONS_BY_PROJECT = "CREATE INDEX invitations_by_project ON invitations (project_id, id)"
ACCESS = (MEMBERS, MEMBERSHIPS, TOKENS, TOKENS_BY_PROJECT, INVITATIONS, INVITATIONS_BY_PROJECT)
ACCESS_SQL = ";\n".join(ACCESS)
UPGRADES: Upgrades = (
    # 2: keys expire by days of use, which a clock that jumps cannot skip. Each key is kept for its full time again.
    (CALENDAR, START, "UPDATE requests SET expires = 400"),
    # 3: the first change of a chunk names its request, so that a copy carries its keys (`sltt_core.log.requests`).
    (
        "ALTER TABLE changes ADD COLUMN request_key TEXT",
        "CREATE INDEX by_first ON requests (log, first_seq)",
        f"""UPDATE changes SET request_key = (
            SELECT key || ' ' || number || ' ' || offset || ' ' || count || ' ' || fingerprint FROM requests
            WHERE log = changes.id >> {SEQ_BITS} AND first_seq = changes.id & {(1 << SEQ_BITS) - 1}
                AND typeof(key) = 'text' AND length(key) BETWEEN 16 AND 128 AND key NOT GLOB '*[^A-Za-z0-9._:-]*'
                AND typeof(number) = 'integer' AND number >= 0 AND typeof(offset) = 'integer' AND offset >= 0
                AND typeof(count) = 'integer' AND count > 0 AND length(fingerprint) = 64
            LIMIT 1
        ) WHERE id IN (SELECT log << {SEQ_BITS} | first_seq FROM requests)""",
        "DROP INDEX by_first",
    ),
    # 4: members, as they follow from the log; device tokens and invitations.
    (
        *(statement.replace(KEPT, "") for statement in ACCESS),
        "INSERT INTO members SELECT project_id, entity_id, json_extract(data_json, '$.role') AS role, max(id & "
        "((1 << 40) - 1)) FROM changes JOIN logs ON log = id >> 40 WHERE entity_type = 'sltt.member' "
        "AND json_valid(data_json) AND role IN ('none', 'viewer', 'editor', 'owner') GROUP BY project_id, entity_id",
    ),
    # 5: device tokens and invitations that have expired are deleted by days of use, too.
    (
        "ALTER TABLE tokens ADD COLUMN kept INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE invitations ADD COLUMN kept INTEGER NOT NULL DEFAULT 0",
        "UPDATE tokens SET kept = (SELECT days FROM calendar) + 400",
        "UPDATE invitations SET kept = (SELECT days FROM calendar) + 400",
    ),
)
"""One element for each older format. A step also has to bring the data along; `SCHEMA` is of the last format."""
OLDEST_FORMAT = 1
FORMAT = OLDEST_FORMAT + len(UPGRADES)
"""The format this program reads and writes."""

SCHEMA = f"""
CREATE TABLE logs (
    log         INTEGER PRIMARY KEY,
    project_id  TEXT NOT NULL UNIQUE,
    value       INTEGER NOT NULL,          -- the next sequence number
    chain       TEXT NOT NULL,             -- the last link
    creates     INTEGER NOT NULL DEFAULT 0,
    updates     INTEGER NOT NULL DEFAULT 0,
    deletes     INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE changes (
    id          INTEGER PRIMARY KEY,       -- log << 40 | seq: a log lies together, in order
    entity_type TEXT NOT NULL,
    entity_id   TEXT NOT NULL,
    operation   TEXT NOT NULL,
    timestamp   TEXT NOT NULL,
    cloud_at    TEXT NOT NULL,
    data_json   TEXT NOT NULL,
    outdated_by INTEGER,
    cid         TEXT,
    change_by   TEXT,
    chain       TEXT NOT NULL,
    request_key TEXT                       -- the first of a chunk: key, number, offset, count and fingerprint
);
CREATE TABLE entity_types (
    log         INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    total       INTEGER NOT NULL,
    PRIMARY KEY (log, entity_type)
) WITHOUT ROWID;
CREATE TABLE requests (                    -- what an idempotency key wrote, chunk by chunk
    log         INTEGER NOT NULL,
    key         TEXT NOT NULL,
    number      INTEGER NOT NULL,
    offset      INTEGER NOT NULL,
    first_seq   INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    expires     INTEGER NOT NULL,          -- kept until calendar.days is greater
    PRIMARY KEY (log, key, number)
) WITHOUT ROWID;
CREATE INDEX requests_by_expiry ON requests (expires);
{ACCESS_SQL};
{CALENDAR};
{START};
CREATE VIEW change_log AS                  -- for people: the log as the API shows it
    SELECT project_id AS projectId, id & ((1 << 40) - 1) AS seq, entity_type AS entityType,
           entity_id AS entityId, operation, timestamp, cloud_at AS cloudAt, data_json AS data,
           outdated_by AS outdatedBy, cid, change_by AS changeBy, changes.chain
    FROM changes JOIN logs ON log = id >> 40;
"""


class FileKind(Record):
    """A kind of file: what its header says, and its tables."""

    name: str
    """What such a file is, for errors: `a change log`."""
    application_id: int
    schema: str
    """The SQL statements that create the tables of the last format."""
    upgrades: Upgrades

    @property
    def last_format(self) -> int:
        """The format this program reads and writes."""
        return OLDEST_FORMAT + len(self.upgrades)


LOG = FileKind("a change log", APPLICATION_ID, SCHEMA, UPGRADES)
