-- `pinned` is a JSON array of the numbers of items that are part of every window, `summary` numbers the newest summary.

ALTER TABLE threads ADD COLUMN pinned TEXT NOT NULL DEFAULT '[]';
ALTER TABLE threads ADD COLUMN summary INTEGER;
UPDATE threads SET summary = found.seq
FROM (SELECT thread_id, max(seq) AS seq FROM items WHERE kind = 'summary' GROUP BY thread_id) AS found
WHERE found.thread_id = threads.thread_id;
