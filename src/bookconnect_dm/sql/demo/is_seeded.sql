-- Whether this database was filled before. Then whatever its visitors made of it since is theirs: an erased member
-- stays erased. A database that an older release filled has no mark, but its stores.
select
    exists (select from messaging.settings as s where s.name = 'demo_seeded_at')
    or exists (select from public.stores) as is_seeded;
