-- For those who look at the threads and runs of all tenants.

CREATE INDEX threads_listed ON threads (update_time DESC, thread_id DESC) WHERE ephemeral = 0;
CREATE INDEX threads_passing ON threads (update_time) WHERE ephemeral = 1;
CREATE INDEX runs_of_all ON runs (create_time DESC, run_id DESC);
