drop table if exists messaging.retention_runs;
