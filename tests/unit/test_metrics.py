from __future__ import annotations

import re

import pytest

from bookconnect_dm.metrics import FAMILIES, Metrics


def test_what_happened_is_counted() -> None:
    metrics = Metrics()
    metrics.request("/v1/me", "GET", 200, 0.01)
    metrics.statement("me", "ok", 0.01)
    metrics.sent("ok", 0.01)
    metrics.batch(3)
    metrics.frame("SendFrame")
    metrics.written(2)
    metrics.repeated("me")
    metrics.connected()
    metrics.connect_failed()
    metrics.connection_lost()
    metrics.socket_opened()
    metrics.socket_closed(4409)
    metrics.limited("sends")
    text = metrics.text().decode()
    for line in (
        'bookconnect_dm_http_requests_total{method="GET",route="/v1/me",status="200"} 1.0',
        'bookconnect_dm_statements_total{outcome="ok",statement="me"} 1.0',
        'bookconnect_dm_sends_total{outcome="ok"} 1.0',
        "bookconnect_dm_send_batch_rows_sum 3.0",
        "bookconnect_dm_frames_sent_total 2.0",
        'bookconnect_dm_database_connects_total{outcome="failed"} 1.0',
        "bookconnect_dm_sockets 0.0",
        'bookconnect_dm_socket_closes_total{code="4409"} 1.0',
        'bookconnect_dm_limited_total{limit="sends"} 1.0',
    ):
        assert line in text


def test_a_watched_value_is_read_when_it_is_looked_at() -> None:
    metrics, value = Metrics(), [1.0]
    metrics.watch("sends_waiting", lambda: value[0])
    metrics.watch("feed_gaps", lambda: value[0])
    value[0] = 7.0
    text = metrics.text().decode()
    assert "bookconnect_dm_sends_waiting 7.0" in text
    assert "# TYPE bookconnect_dm_feed_gaps_total counter" in text
    assert "bookconnect_dm_feed_gaps_total 7.0" in text
    with pytest.raises(KeyError):
        metrics.watch("unheard_of", lambda: 0.0)


def test_retention_is_shown_only_where_a_worker_is() -> None:
    metrics = Metrics()
    assert "retention" not in metrics.text().decode()
    metrics.retention_leads(leads=True)
    metrics.retention_ran("complete")
    metrics.storage({"a": 1, "b": 2})
    metrics.storage({"b": 3})
    text = metrics.text().decode()
    assert "bookconnect_dm_retention_leader 1.0" in text
    assert 'bookconnect_dm_retention_runs_total{outcome="complete"} 1.0' in text
    assert "bookconnect_dm_store_bytes{" in text
    assert '{store="a"}' not in text


def test_backups_are_shown_only_where_their_folder_is_seen() -> None:
    metrics = Metrics()
    metrics.retention_leads(leads=True)
    assert "backup" not in metrics.text().decode()
    metrics.backups(newest_at=1_795_000_000, proved_at=0)
    text = metrics.text().decode()
    assert "bookconnect_dm_backup_newest_timestamp_seconds 1.795e+09" in text
    assert "bookconnect_dm_backup_proved_timestamp_seconds 0.0" in text


def test_names_follow_the_conventions() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"bookconnect_dm_[a-z]+(_[a-z]+)*", family.shown), family.name
        assert family.meaning.endswith("."), family.name
        assert not family.name.endswith("_total"), family.name
        if family.kind == "histogram":
            assert family.name.endswith(("_seconds", "_rows")), family.name


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.sent("ok", 0.1)
    assert "bookconnect_dm_sends_total{" not in other.text().decode()
