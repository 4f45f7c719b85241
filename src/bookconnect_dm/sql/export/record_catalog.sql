select messaging.record_catalog();
