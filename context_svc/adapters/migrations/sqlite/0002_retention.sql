-- Items below `first_item` were pruned, except instructions and summaries. Events below `first_event` were forgotten.
-- `compacted` says that the log of an ended run is kept in as few rows as it can be.

ALTER TABLE threads ADD COLUMN first_item INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN first_event INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN compacted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_with_log ON runs (finish_time) WHERE finish_time IS NOT NULL AND first_event < next_event - 1;
CREATE INDEX runs_to_compact ON runs (finish_time) WHERE finish_time IS NOT NULL AND compacted = 0;
