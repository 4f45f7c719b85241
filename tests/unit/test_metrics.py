from __future__ import annotations

from bookconnect_dm.metrics import Metrics


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
        "bookconnect_dm_batch_rows_sum 3.0",
        "bookconnect_dm_frames_sent_total 2.0",
        'bookconnect_dm_database_connects_total{outcome="failed"} 1.0',
        "bookconnect_dm_sockets 0.0",
        'bookconnect_dm_socket_closes_total{code="4409"} 1.0',
        'bookconnect_dm_limited_total{limit="sends"} 1.0',
    ):
        assert line in text


def test_a_watched_value_is_read_when_it_is_looked_at() -> None:
    metrics, value = Metrics(), [1.0]
    metrics.watch("waiting", "How many wait.", lambda: value[0])
    value[0] = 7.0
    assert "bookconnect_dm_waiting 7.0" in metrics.text().decode()


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.sent("ok", 0.1)
    assert "bookconnect_dm_sends_total{" not in other.text().decode()
