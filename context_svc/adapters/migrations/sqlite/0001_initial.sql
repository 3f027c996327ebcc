-- Times are microseconds since 1970 in UTC. `lease_until` and `expires` are seconds of the machine's steady clock,
-- set anew whenever the store is opened. `schema_v` is the version of the row's JSON or batch format.

CREATE TABLE threads (
    thread_id   TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL DEFAULT '',
    key         TEXT NOT NULL,               -- '' for a thread that only its id finds
    metadata    TEXT NOT NULL,               -- JSON object
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    next_item   INTEGER NOT NULL,
    next_run    INTEGER NOT NULL,
    active_run  TEXT NOT NULL,
    ephemeral   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX threads_by_key ON threads (tenant, key) WHERE key <> '';
CREATE INDEX threads_by_use ON threads (tenant, ephemeral, update_time DESC, thread_id DESC);

CREATE TABLE runs (
    run_id           TEXT PRIMARY KEY,
    tenant           TEXT NOT NULL DEFAULT '',
    thread_id        TEXT NOT NULL REFERENCES threads ON DELETE CASCADE,
    number           INTEGER NOT NULL,       -- orders the runs of a thread
    state            TEXT NOT NULL,
    epoch            INTEGER NOT NULL,
    owner            TEXT NOT NULL,
    lease_until      REAL NOT NULL,
    expires          REAL NOT NULL,
    create_time      INTEGER NOT NULL,
    deadline         INTEGER NOT NULL,
    next_event       INTEGER NOT NULL,
    input_count      INTEGER NOT NULL,
    first_item       INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    last_write       TEXT NOT NULL,
    params           TEXT NOT NULL,          -- JSON, the caller's own
    finished         TEXT,                   -- JSON, how it ended; also the log's terminal event
    finish_time      INTEGER,
    UNIQUE (thread_id, number)
) STRICT;
CREATE INDEX runs_open ON runs (thread_id, number) WHERE finish_time IS NULL;
CREATE INDEX runs_by_creation ON runs (tenant, create_time DESC, run_id DESC);

CREATE TABLE items (
    thread_id   TEXT NOT NULL REFERENCES threads ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    item_id     TEXT NOT NULL UNIQUE,
    run_id      TEXT NOT NULL,               -- '' when no run wrote it
    create_time INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    status      TEXT NOT NULL,
    provenance  TEXT NOT NULL,
    role        TEXT NOT NULL,
    body        TEXT NOT NULL,               -- JSON of the message
    tokens      INTEGER NOT NULL,
    schema_v    INTEGER NOT NULL,
    digest      BLOB NOT NULL,               -- of the body: tells damage, and equal messages apart from others
    UNIQUE (thread_id, seq)
) STRICT;
CREATE INDEX items_instructions ON items (thread_id, digest, seq) WHERE role IN ('system', 'developer');

-- The input of runs that nobody has claimed yet; the first claim moves it into `items`.
CREATE TABLE inputs (
    run_id      TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    ordinal     INTEGER NOT NULL,
    item_id     TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    status      TEXT NOT NULL,
    provenance  TEXT NOT NULL,
    role        TEXT NOT NULL,
    body        TEXT NOT NULL,
    tokens      INTEGER NOT NULL,
    schema_v    INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    UNIQUE (run_id, ordinal)
) STRICT;

-- One row per write, however many events it held.
CREATE TABLE events (
    run_id      TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    first_seq   INTEGER NOT NULL,
    last_seq    INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    batch       BLOB NOT NULL,               -- each body behind its length in four bytes, big-endian
    schema_v    INTEGER NOT NULL,
    UNIQUE (run_id, last_seq)
) STRICT;

CREATE TABLE calls (
    run_id    TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    call_id   TEXT NOT NULL,
    ordinal   INTEGER NOT NULL,
    tool      TEXT NOT NULL,
    args      TEXT NOT NULL,
    state     TEXT NOT NULL,
    attempt   INTEGER NOT NULL,
    result    TEXT,                          -- JSON, once it has ended
    schema_v  INTEGER NOT NULL,
    PRIMARY KEY (run_id, call_id)
) STRICT;

-- Receipts: what a request with a key did.
CREATE TABLE idem (
    tenant      TEXT NOT NULL DEFAULT '',
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    thread_id   TEXT NOT NULL REFERENCES threads ON DELETE CASCADE,
    run_id      TEXT NOT NULL,
    first_item  INTEGER NOT NULL,
    item_count  INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT;
CREATE INDEX idem_by_thread ON idem (thread_id);
CREATE INDEX idem_by_expiry ON idem (expires);
