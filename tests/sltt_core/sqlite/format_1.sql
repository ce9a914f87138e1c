-- A log as the program of format 1 wrote it. It never changes: each later program has to upgrade it.
PRAGMA application_id = 0x534C5454;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
    chain       TEXT NOT NULL
);
INSERT INTO "changes" VALUES(1099511627777,'passage','ruth-1','create','2025-02-19T21:20:00.000Z','2025-02-19T21:20:00.000Z','{"title": "Famine"}',NULL,'tablet-7','Ruth','tElDpfRBhmwVYhb7CuB1VA');
INSERT INTO "changes" VALUES(1099511627778,'video','take-1','create','2025-02-19T21:20:00.002Z','2025-02-19T21:20:00.002Z','{}',3,NULL,NULL,'DgqLMKQKRBfyHcr3rMGUUw');
INSERT INTO "changes" VALUES(1099511627779,'video','take-1','update','2025-02-19T21:20:00.002Z','2025-02-19T21:20:00.002Z','{}',NULL,NULL,NULL,'vUgulmoGCzQsKCxXgC1ZxA');
INSERT INTO "changes" VALUES(1099511627780,'video','take-2','create','2025-02-19T21:20:00.002Z','2025-02-19T21:20:00.002Z','{}',NULL,NULL,NULL,'Os0H2aK5g-BX49NfKpkgiA');
CREATE TABLE entity_types (
    log         INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    total       INTEGER NOT NULL,
    PRIMARY KEY (log, entity_type)
) WITHOUT ROWID;
INSERT INTO "entity_types" VALUES(1,'passage',1);
INSERT INTO "entity_types" VALUES(1,'video',3);
CREATE TABLE logs (
    log         INTEGER PRIMARY KEY,
    project_id  TEXT NOT NULL UNIQUE,
    value       INTEGER NOT NULL,          -- the next sequence number
    chain       TEXT NOT NULL,             -- the last link
    creates     INTEGER NOT NULL DEFAULT 0,
    updates     INTEGER NOT NULL DEFAULT 0,
    deletes     INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "logs" VALUES(1,'ruth',5,'Os0H2aK5g-BX49NfKpkgiA',3,1,0);
CREATE TABLE requests (                    -- what an idempotency key wrote, chunk by chunk
    log         INTEGER NOT NULL,
    key         TEXT NOT NULL,
    number      INTEGER NOT NULL,
    offset      INTEGER NOT NULL,
    first_seq   INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    expires     INTEGER NOT NULL,          -- seconds since 1970
    PRIMARY KEY (log, key, number)
) WITHOUT ROWID;
INSERT INTO "requests" VALUES(1,'tablet-7:batch-0001',0,0,2,3,'64be1e807e7077fa845e62f51f04415771ee47a72270b3af26ea0f8edd975d58',1774560000);
CREATE INDEX requests_by_expiry ON requests (expires);
CREATE VIEW change_log AS                  -- for people: the log as the API shows it
    SELECT project_id AS projectId, id & ((1 << 40) - 1) AS seq, entity_type AS entityType,
           entity_id AS entityId, operation, timestamp, cloud_at AS cloudAt, data_json AS data,
           outdated_by AS outdatedBy, cid, change_by AS changeBy, changes.chain
    FROM changes JOIN logs ON log = id >> 40;
COMMIT;
