-- Times are microseconds since 1970 in UTC. `lease_until` and `expires` are seconds of the store's steady clock.
-- `schema_v` is the version of the row's JSON or batch format. Names are compared by their bytes (collation C).
-- JSON is kept as text: jsonb would neither keep it as it was nor take the character NUL.

-- The steady clock is the server's clock minus `correction` (microseconds), which takes back what the server's clock
-- jumped. `server_start` tells a restart of the server.
CREATE TABLE steady_clock (
    only_row     BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    correction   BIGINT NOT NULL,
    server_start TIMESTAMPTZ NOT NULL
);
INSERT INTO steady_clock (correction, server_start) VALUES (0, pg_postmaster_start_time());

-- One row for each transaction of the last minute, for those who lost their connection while they committed. Who asks
-- how a transaction ended adds its row when it is not there, `committed` false, so that it can never commit after that.
CREATE TABLE commits (
    mark      UUID PRIMARY KEY,
    committed BOOLEAN NOT NULL,
    time      TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE threads (
    thread_id   TEXT COLLATE "C" PRIMARY KEY,
    tenant      TEXT COLLATE "C" NOT NULL DEFAULT '',
    key         TEXT COLLATE "C" NOT NULL,  -- '' for a thread that only its id finds
    metadata    TEXT NOT NULL,  -- JSON object
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    next_item   BIGINT NOT NULL,
    next_run    BIGINT NOT NULL,
    first_item  BIGINT NOT NULL,  -- items below it were pruned, except instructions and summaries
    active_run  TEXT NOT NULL,
    ephemeral   BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX threads_by_key ON threads (tenant, key) WHERE key <> '';
CREATE INDEX threads_by_use ON threads (tenant, ephemeral, update_time DESC, thread_id DESC);

CREATE TABLE runs (
    run_id           TEXT COLLATE "C" PRIMARY KEY,
    tenant           TEXT COLLATE "C" NOT NULL DEFAULT '',
    thread_id        TEXT COLLATE "C" NOT NULL REFERENCES threads ON DELETE CASCADE,
    number           BIGINT NOT NULL,  -- orders the runs of a thread
    state            TEXT NOT NULL,
    epoch            BIGINT NOT NULL,
    owner            TEXT NOT NULL,
    lease_until      DOUBLE PRECISION NOT NULL,
    expires          DOUBLE PRECISION NOT NULL,
    create_time      BIGINT NOT NULL,
    deadline         BIGINT NOT NULL,
    next_event       BIGINT NOT NULL,
    first_event      BIGINT NOT NULL,  -- events below it were forgotten
    input_count      BIGINT NOT NULL,
    first_item       BIGINT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    last_write       TEXT NOT NULL,
    params           TEXT NOT NULL,  -- JSON, the caller's own
    finished         TEXT,  -- JSON, how it ended; also the log's terminal event
    finish_time      BIGINT,
    UNIQUE (thread_id, number)
) WITH (fillfactor = 70);  -- leases are renewed often: the new row finds room next to the old one
CREATE INDEX runs_open ON runs (thread_id, number) WHERE finish_time IS NULL;
CREATE INDEX runs_with_log ON runs (finish_time) WHERE finish_time IS NOT NULL AND first_event < next_event - 1;
CREATE INDEX runs_by_creation ON runs (tenant, create_time DESC, run_id DESC);

CREATE TABLE items (
    thread_id   TEXT COLLATE "C" NOT NULL REFERENCES threads ON DELETE CASCADE,
    seq         BIGINT NOT NULL,
    item_id     TEXT COLLATE "C" NOT NULL UNIQUE,
    run_id      TEXT COLLATE "C" NOT NULL,  -- '' when no run wrote it
    create_time BIGINT NOT NULL,
    kind        TEXT NOT NULL,
    status      TEXT NOT NULL,
    provenance  TEXT NOT NULL,
    role        TEXT NOT NULL,
    body        TEXT NOT NULL,  -- JSON of the message
    tokens      BIGINT NOT NULL,
    schema_v    BIGINT NOT NULL,
    digest      BYTEA NOT NULL,  -- of the body: tells damage, and equal messages apart from others
    UNIQUE (thread_id, seq)
);
CREATE INDEX items_instructions ON items (thread_id, digest, seq) WHERE role IN ('system', 'developer');

-- The input of runs that nobody has claimed yet; the first claim moves it into `items`.
CREATE TABLE inputs (
    run_id      TEXT COLLATE "C" NOT NULL REFERENCES runs ON DELETE CASCADE,
    ordinal     BIGINT NOT NULL,
    item_id     TEXT COLLATE "C" NOT NULL,
    create_time BIGINT NOT NULL,
    kind        TEXT NOT NULL,
    status      TEXT NOT NULL,
    provenance  TEXT NOT NULL,
    role        TEXT NOT NULL,
    body        TEXT NOT NULL,
    tokens      BIGINT NOT NULL,
    schema_v    BIGINT NOT NULL,
    digest      BYTEA NOT NULL,
    UNIQUE (run_id, ordinal)
);

-- One row per write, however many events it held.
CREATE TABLE events (
    run_id      TEXT COLLATE "C" NOT NULL REFERENCES runs ON DELETE CASCADE,
    first_seq   BIGINT NOT NULL,
    last_seq    BIGINT NOT NULL,
    epoch       BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    batch       BYTEA NOT NULL,  -- each body behind its length in four bytes, big-endian
    schema_v    BIGINT NOT NULL,
    UNIQUE (run_id, last_seq)
);

CREATE TABLE calls (
    run_id    TEXT COLLATE "C" NOT NULL REFERENCES runs ON DELETE CASCADE,
    call_id   TEXT COLLATE "C" NOT NULL,
    ordinal   BIGINT NOT NULL,
    tool      TEXT NOT NULL,
    args      TEXT NOT NULL,
    state     TEXT NOT NULL,
    attempt   BIGINT NOT NULL,
    result    TEXT,  -- JSON, once it has ended
    schema_v  BIGINT NOT NULL,
    PRIMARY KEY (run_id, call_id)
);

-- Receipts: what a request with a key did.
CREATE TABLE idem (
    tenant      TEXT COLLATE "C" NOT NULL DEFAULT '',
    key         TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT NOT NULL,
    thread_id   TEXT COLLATE "C" NOT NULL REFERENCES threads ON DELETE CASCADE,
    run_id      TEXT COLLATE "C" NOT NULL,
    first_item  BIGINT NOT NULL,
    item_count  BIGINT NOT NULL,
    expires     BIGINT NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idem_by_thread ON idem (thread_id);
CREATE INDEX idem_by_expiry ON idem (expires);
