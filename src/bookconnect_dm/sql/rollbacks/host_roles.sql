-- Roles belong to the cluster and stay; only what they were granted here goes.
revoke all on schema messaging from bookconnect_dm_server, service_role;
