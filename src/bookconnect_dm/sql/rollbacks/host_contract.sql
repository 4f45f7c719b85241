drop function if exists messaging.notice_tier (uuid, text);
