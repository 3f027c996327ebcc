-- What tenants have stored, in bytes; `sizes.py` says what counts. A thread's `bytes` are those of its items and of input
-- that waits, a run's those of its parameters and events. `stored` sums up, in parts, what rows say in `counted`: that of
-- a thread is kept up to date, that of a run says what it was when the run ended or its log was forgotten.

ALTER TABLE threads ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE threads ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_open_of_tenant ON runs (tenant) WHERE finish_time IS NULL;

CREATE TABLE stored (
    tenant TEXT NOT NULL,
    shard  INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (tenant, shard)
) WITHOUT ROWID, STRICT;

UPDATE threads SET bytes = threads.bytes + found.bytes
FROM (SELECT thread_id, sum(octet_length(body) + 100) AS bytes FROM items GROUP BY thread_id) AS found
WHERE found.thread_id = threads.thread_id;
UPDATE threads SET bytes = threads.bytes + found.bytes
FROM (
    SELECT runs.thread_id, sum(octet_length(inputs.body) + 100) AS bytes
    FROM inputs JOIN runs ON runs.run_id = inputs.run_id GROUP BY runs.thread_id
) AS found
WHERE found.thread_id = threads.thread_id;
UPDATE threads SET counted = bytes + octet_length(key) + octet_length(metadata) + 100;

UPDATE runs SET bytes = octet_length(params) + 100;
UPDATE runs SET bytes = runs.bytes + found.bytes
FROM (SELECT run_id, sum(logged_bytes(batch, schema_v)) AS bytes FROM events GROUP BY run_id) AS found
WHERE found.run_id = runs.run_id;
UPDATE runs SET counted = bytes + octet_length(actions) + coalesce(octet_length(finished), 0) + coalesce((
    SELECT sum(octet_length(args) + coalesce(octet_length(result), 0) + 100) FROM calls WHERE calls.run_id = runs.run_id
), 0)
WHERE finish_time IS NOT NULL;

INSERT INTO stored (tenant, shard, bytes)
SELECT tenant, 0, sum(counted) FROM (SELECT tenant, counted FROM threads UNION ALL SELECT tenant, counted FROM runs) AS found
GROUP BY tenant;
