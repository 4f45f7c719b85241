-- The demo's two stores and six members (standalone host). Running it again changes nothing.
-- The tests' world is the same: their ids are fixed so that both know them.

insert into public.stores (id, name) values
('a0000000-0000-4000-8000-000000000001', 'Page & Anchor'),
('a0000000-0000-4000-8000-000000000002', 'The Night Owl')
on conflict (id) do nothing;

insert into auth.users (id) values
('b0000000-0000-4000-8000-00000000000a'),
('b0000000-0000-4000-8000-00000000000b'),
('b0000000-0000-4000-8000-00000000000c'),
('b0000000-0000-4000-8000-00000000000d'),
('b0000000-0000-4000-8000-00000000000e'),
('b0000000-0000-4000-8000-00000000000f')
on conflict (id) do nothing;

insert into public.users (id, username, displayname, user_tier) values
('b0000000-0000-4000-8000-00000000000a', 'ada', 'Ada Lindqvist', 'privileged_plus'),
('b0000000-0000-4000-8000-00000000000b', 'ben', 'Ben Okafor', 'privileged'),
('b0000000-0000-4000-8000-00000000000c', 'cleo', 'Cleo Marchetti', 'free'),
('b0000000-0000-4000-8000-00000000000d', 'dora', 'Dora Weiss', 'free'),
('b0000000-0000-4000-8000-00000000000e', 'edgar', 'Edgar Nakamura', 'privileged_plus'),
('b0000000-0000-4000-8000-00000000000f', 'fern', 'Fern Castillo', 'free')
on conflict (id) do nothing;

insert into public.store_members (store_id, user_id, role) values
('a0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-00000000000a', 'member'),
('a0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-00000000000b', 'member'),
('a0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-00000000000c', 'member'),
('a0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-00000000000d', 'manager'),
('a0000000-0000-4000-8000-000000000002', 'b0000000-0000-4000-8000-00000000000e', 'member'),
('a0000000-0000-4000-8000-000000000002', 'b0000000-0000-4000-8000-00000000000f', 'member')
on conflict (store_id, user_id) do nothing;
