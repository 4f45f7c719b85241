-- The logins' passwords, from the environment of psql; and the retention worker's login. Again and again, if need be.
\getenv server_password SERVER_PASSWORD
\getenv feed_password FEED_PASSWORD
\getenv retention_password RETENTION_PASSWORD
alter role bookconnect_dm_server password :'server_password';
alter role bookconnect_dm_feed password :'feed_password';
select not exists (select from pg_roles where rolname = 'bookconnect_dm_retention') as is_missing \gset
\if :is_missing
create role bookconnect_dm_retention login in role service_role;
\endif
alter role bookconnect_dm_retention password :'retention_password';
