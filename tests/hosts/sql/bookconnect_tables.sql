-- The original host's own tables, as its developers made them before direct messaging came.

create table public.users (
    id uuid primary key references auth.users (id) on delete cascade,
    username text unique,
    displayname text,
    avatar_url text,
    account_tier text default 'free',
    membership_tier text default 'FREE',
    allow_direct_messages boolean default true,
    favorite_genre text
);

create table public.stores (
    id uuid primary key default gen_random_uuid(),
    name text not null
);

create table public.book_clubs (
    id uuid primary key default gen_random_uuid(),
    store_id uuid references public.stores (id) on delete cascade,
    name text not null
);

create table public.club_members (
    user_id uuid references public.users (id) on delete cascade,
    club_id uuid references public.book_clubs (id) on delete cascade,
    joined_at timestamptz default now(),
    primary key (user_id, club_id)
);

create table public.store_administrators (
    id uuid primary key default gen_random_uuid(),
    store_id uuid references public.stores (id) on delete cascade,
    user_id uuid references auth.users (id) on delete cascade,
    role text not null check (role in ('owner', 'manager'))
);

create index on public.book_clubs (store_id);
create index on public.club_members (club_id);
create index on public.store_administrators (user_id);
create index on public.store_administrators (store_id);

alter table public.users enable row level security;
alter table public.stores enable row level security;
alter table public.book_clubs enable row level security;
alter table public.club_members enable row level security;
alter table public.store_administrators enable row level security;
