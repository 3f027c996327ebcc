-- `actions` is a JSON array of what persons are asked about a run's calls and have said of them, '' for none; a run that waits for
-- them is gone on with at `wait_until`; `waits` counts how often it has waited.

ALTER TABLE runs ADD COLUMN actions TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN wait_until INTEGER;
ALTER TABLE runs ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
