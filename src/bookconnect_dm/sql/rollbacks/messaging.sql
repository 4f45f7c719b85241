-- The last of us. The host's tables, its auth schema and the cluster's roles stay.
drop table if exists messaging.retention_runs;
drop table if exists messaging.expected_objects;
drop table if exists messaging.migrations;
drop schema if exists messaging;
