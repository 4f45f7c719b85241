drop function if exists messaging.record_catalog ();
drop function if exists messaging.catalog ();
drop function if exists messaging.acl_text (aclitem []);
drop function if exists messaging.is_ours (oid);
