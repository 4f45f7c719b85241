-- The demo's conversations: a few lifelike ones, of all ages. Times count back from the moment of seeding.
-- A conversation that is there already is left alone, with what members wrote since. The demo runs this once only
-- (is_seeded.sql): what its visitors removed stays removed.
--
-- History cannot be told through send_message, whose clock knows only the present: triggers are off for this one
-- transaction, and what they would have kept true is computed at the end.

set local session_replication_role = replica;

create temporary table demo_conversation (
    id uuid primary key,
    store_id uuid not null,
    starter text not null,
    other text not null,
    -- How long ago each of the two looked last.
    starter_read interval not null,
    other_read interval not null
) on commit drop;

create temporary table demo_message (
    conversation_id uuid not null,
    n int not null,
    sender text not null,
    ago interval not null,
    -- How long after sending its sender took it back.
    deleted_after interval null,
    content text not null,
    primary key (conversation_id, n)
) on commit drop;

insert into demo_conversation (id, store_id, starter, other, starter_read, other_read) values
(
    'c0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001', 'ada', 'ben',
    '50 minutes', '3 minutes'
),
(
    'c0000000-0000-4000-8000-000000000002', 'a0000000-0000-4000-8000-000000000001', 'ada', 'cleo',
    '1 day', '4 days'
),
(
    'c0000000-0000-4000-8000-000000000003', 'a0000000-0000-4000-8000-000000000001', 'dora', 'ben',
    '2 hours', '20 hours'
),
(
    'c0000000-0000-4000-8000-000000000004', 'a0000000-0000-4000-8000-000000000001', 'dora', 'ada',
    '11 days', '11 days'
),
(
    'c0000000-0000-4000-8000-000000000005', 'a0000000-0000-4000-8000-000000000002', 'edgar', 'fern',
    '10 minutes', '2 days'
);

insert into demo_message (conversation_id, n, sender, ago, deleted_after, content) values
('c0000000-0000-4000-8000-000000000001', 1, 'ada', '41 days 5 hours', null,
    'I finished Piranesi last night and I cannot stop thinking about the statues. Have you got to the albatross yet?'),
('c0000000-0000-4000-8000-000000000001', 2, 'ben', '41 days 3 hours', null,
    'Yesterday, on the train! I missed my stop. No more hints please, I am only at Part Three.'),
('c0000000-0000-4000-8000-000000000001', 3, 'ada', '41 days 2 hours', null,
    'My lips are sealed. Tell me when you are through, I want to compare theories about the Other.'),
('c0000000-0000-4000-8000-000000000001', 4, 'ben', '33 days 9 hours', null,
    'Through. I sat on the stairs for half an hour afterwards. The house is the kindest character in the book.'),
('c0000000-0000-4000-8000-000000000001', 5, 'ada', '33 days 8 hours', null,
    'That is exactly it! I underlined the sentence about its beauty and its kindness, and I never underline.'),
('c0000000-0000-4000-8000-000000000001', 6, 'ben', '12 days 4 hours', null,
    'Next one for the two of us? I have three on the pile:
– The Left Hand of Darkness
– A Wizard of Earthsea, again
– Some of Us Just Fall, which is non-fiction, but the rivers in it!'),
('c0000000-0000-4000-8000-000000000001', 7, 'ada', '12 days 1 hour', null,
    'The Left Hand of Darkness. I have owned it for nine years without opening it, this is an intervention.'),
('c0000000-0000-4000-8000-000000000001', 8, 'ben', '6 days 2 hours', null,
    'I am at the crossing of the ice. Read it with a blanket.'),
('c0000000-0000-4000-8000-000000000001', 9, 'ada', '5 days 23 hours', null,
    'Too late, I read it in the garden in November like a fool. 🥶'),
('c0000000-0000-4000-8000-000000000001', 10, 'ada', '55 minutes', null,
    'Are you coming to the reading on Thursday? Dora says there will be soup.'),
('c0000000-0000-4000-8000-000000000001', 11, 'ben', '9 minutes', null,
    'For soup I would come to a reading of the phone book. Save me a chair?'),
('c0000000-0000-4000-8000-000000000001', 12, 'ben', '4 minutes', null,
    'And bring your copy, I want to see that underlined sentence.'),

-- Cleo is a free member: what she wrote 28 days ago leaves in two days.
('c0000000-0000-4000-8000-000000000002', 1, 'ada', '29 days 6 hours', null,
    'Cleo, you asked in the shop for something like Momo, but for grown-ups? I thought of The Phantom Tollbooth.'),
('c0000000-0000-4000-8000-000000000002', 2, 'cleo', '28 days', null,
    'That is so kind! I know it as a child''s book, is it worth it again at thirty-four?'),
('c0000000-0000-4000-8000-000000000002', 3, 'ada', '27 days 22 hours', null,
    'More than at nine. You will laugh at different pages.'),
('c0000000-0000-4000-8000-000000000002', 4, 'cleo', '9 days 3 hours', null,
    'You were right about the pages. The Doldrums are my office.'),
('c0000000-0000-4000-8000-000000000002', 5, 'ada', '5 days 2 hours', '3 minutes',
    'Ha! Mine is the island of Conclusions. One gets there by jumping, and I did, in my last meeting with'),
('c0000000-0000-4000-8000-000000000002', 6, 'ada', '5 days 1 hour', null,
    'Ha! Mine is the island of Conclusions: one gets there by jumping.'),
('c0000000-0000-4000-8000-000000000002', 7, 'ada', '1 day 1 hour', null,
    'There is a second-hand copy of The Last Unicorn at the till, with the old cover. Dora keeps it for you.'),

('c0000000-0000-4000-8000-000000000003', 1, 'dora', '15 days 3 hours', null,
    'Good morning Ben, your order has arrived: The Blue Flower, and the new translation of The Master and Margarita.'),
('c0000000-0000-4000-8000-000000000003', 2, 'ben', '15 days 1 hour', null,
    'Wonderful. I can come on Saturday before noon, is that all right?'),
('c0000000-0000-4000-8000-000000000003', 3, 'dora', '15 days', null,
    'Of course. They are under the counter with your name on them.'),
('c0000000-0000-4000-8000-000000000003', 4, 'ben', '2 days 6 hours', null,
    'Both read! Would you lend me your notes for the book circle? I would like to lead the evening on Bulgakov.'),
('c0000000-0000-4000-8000-000000000003', 5, 'dora', '2 hours 30 minutes', null,
    'Gladly. I have put them into the back of the shop''s copy. Mind the coffee stain on page 84, it is historic.'),

('c0000000-0000-4000-8000-000000000004', 1, 'ada', '190 days', null,
    'Dora, the shelf of sea stories by the window is the best idea this shop ever had. Who chose them?'),
('c0000000-0000-4000-8000-000000000004', 2, 'dora', '12 days', null,
    'I still owe you an answer from spring: it was Henrik, before he left. May we put your card beside Moby-Dick?'),
('c0000000-0000-4000-8000-000000000004', 3, 'ada', '11 days 4 hours', null,
    'Please do. I would only change one word on it: it is not long, it is roomy.'),

('c0000000-0000-4000-8000-000000000005', 1, 'edgar', '20 days 4 hours', null,
    'Fern, the night circle meets on Tuesday at ten. We read The Turn of the Screw aloud, by one lamp. Are you in?'),
('c0000000-0000-4000-8000-000000000005', 2, 'fern', '20 days 2 hours', null,
    'By one lamp? I am in, and I am bringing my sister so that somebody walks home with me.'),
('c0000000-0000-4000-8000-000000000005', 3, 'edgar', '13 days 1 hour', null,
    'You read the last chapter so quietly that nobody dared to turn the light on. What shall we do next?'),
('c0000000-0000-4000-8000-000000000005', 4, 'fern', '2 days 1 hour', null,
    'The Haunting of Hill House? Or, if people want to sleep again, The Wind in the Willows.'),
('c0000000-0000-4000-8000-000000000005', 5, 'edgar', '12 minutes', null,
    'Hill House first, Willows as the cure. I will put both into the window tonight. 🦉');

-- Only what is not there yet.
delete from demo_conversation as d
using public.conversations as c
where c.id = d.id;

insert into public.conversations (id, store_id, created_at, updated_at, position)
select
    d.id,
    d.store_id,
    min(now() - m.ago) - interval '1 second' as created_at,
    max(now() - m.ago) as updated_at,
    max(now() - m.ago + coalesce(m.deleted_after, interval '0')) as position
from demo_conversation as d
inner join demo_message as m on d.id = m.conversation_id
group by d.id, d.store_id;

insert into messaging.conversation_pairs (store_id, low, high, conversation_id)
select d.store_id, least(a.id, b.id) as low, greatest(a.id, b.id) as high, d.id as conversation_id
from demo_conversation as d
inner join public.users as a on d.starter = a.username
inner join public.users as b on d.other = b.username;

insert into public.conversation_participants (conversation_id, user_id, joined_at, last_read_at)
select c.id as conversation_id, u.id as user_id, c.created_at, least(now() - seen.ago, c.updated_at) as last_read_at
from demo_conversation as d
inner join public.conversations as c on d.id = c.id
cross join lateral (values (d.starter, d.starter_read), (d.other, d.other_read)) as seen (username, ago)
inner join public.users as u on seen.username = u.username;

-- Everybody has had the same tier for ever; expiry follows from it, as for a message sent today.
insert into messaging.tier_changes (user_id, changed_at, tier)
select distinct u.id, '-infinity'::timestamptz as changed_at, messaging.host_tier(u.id) as tier
from demo_conversation as d
inner join public.users as u on u.username in (d.starter, d.other)
on conflict (user_id, changed_at) do nothing;

insert into public.direct_messages (
    id, conversation_id, sender_id, content, sent_at, is_deleted, deleted_at, retention_expires_at
)
select
    ('d' || substr(d.id::text, 2, 28) || lpad(to_hex(right(d.id::text, 2)::int * 256 + m.n), 7, '0'))::uuid as id,
    d.id as conversation_id,
    u.id as sender_id,
    m.content,
    now() - m.ago as sent_at,
    m.deleted_after is not null as is_deleted,
    now() - m.ago + m.deleted_after as deleted_at,
    messaging.message_expiry(u.id, now() - m.ago) as retention_expires_at
from demo_conversation as d
inner join demo_message as m on d.id = m.conversation_id
inner join public.users as u on m.sender = u.username;

set local session_replication_role = origin;
