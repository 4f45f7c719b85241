-- Written by `bookconnect-dm migrate export`. One statement, because Supabase's tool cuts a file into statements and
-- takes the word END anywhere in a standard function body for its end.
do $bookconnect_dm$
begin
execute $bookconnect_dm_text$
@text@
$bookconnect_dm_text$;
end;
$bookconnect_dm$;
