-- A run tells a hundred thousand metrics and some ten states: what was said since it was started
-- last, how long it worked and where it was taken up again is asked of these at each look.
CREATE INDEX job_events_states ON sophia.job_events (job_id, number) WHERE kind = 'state';
