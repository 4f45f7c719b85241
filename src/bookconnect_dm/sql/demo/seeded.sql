-- The last of the seed's files: from here on the data is the visitors'.
insert into messaging.settings (name, value) values ('demo_seeded_at', now()::text)
on conflict (name) do nothing;
