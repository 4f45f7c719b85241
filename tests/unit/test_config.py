from __future__ import annotations

import pytest

from bookconnect_dm.config import (
    PREFIX,
    SETTING_NAMES,
    LimitSettings,
    Settings,
    SettingsError,
    default_instance,
)

SECRET = "s" * 32


def read(**values: str) -> Settings:
    return Settings.from_env({PREFIX + name: value for name, value in values.items()})


def refused(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(**values)
    return str(caught.value)


def test_an_empty_environment_gives_the_defaults_of_the_contract() -> None:
    settings = read()
    assert settings == Settings()
    assert settings.jwt_audience == "authenticated"
    assert settings.retention_schedule == ("01:00", "02:00")
    assert settings.recovery_window == 7
    assert settings.prepared_statements == "auto"
    assert settings.feed_url == ""
    limits = settings.limits
    assert (limits.sends_per_second, limits.send_burst) == (10, 200)
    assert (limits.starts_per_hour, limits.sockets) == (60, 20)
    assert (limits.frames_per_second, limits.frame_burst) == (50, 400)
    assert (limits.auth_seconds, limits.frame_bytes) == (10, 65_536)


def test_settings_are_read() -> None:
    settings = read(
        DATABASE_URL="postgresql://a",
        JWT_SECRET=SECRET,
        PORT="9000",
        HOST_ADAPTER="supabase",
        RETENTION_SCHEDULE="03:30, 04:30",
        LIMIT_SENDS_PER_SECOND="0.5",
        LIMIT_SOCKETS="0",
        PREPARED_STATEMENTS="off",
        ORIGINS="https://shop.example/, http://localhost:3000",
        LOG_LEVEL="DEBUG",
    )
    assert settings.database_url == "postgresql://a"
    assert settings.port == 9000
    assert settings.host_adapter == "supabase"
    assert settings.retention_schedule == ("03:30", "04:30")
    assert settings.limits.sends_per_second == 0.5
    assert settings.limits.sockets == 0
    assert settings.prepared_statements == "off"
    assert settings.origins == ("https://shop.example", "http://localhost:3000")
    assert settings.log_level == "debug"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "x"),
        ("PORT", "70000"),
        ("PORT", "nan"),
        ("HOST_ADAPTER", "mysql"),
        ("JWT_SECRET", "short"),
        ("INSTANCE", "Server-1"),
        ("INSTANCE", "x" * 49),
        ("RETENTION_SCHEDULE", "25:00"),
        ("RECOVERY_WINDOW", "-1"),
        ("PREPARED_STATEMENTS", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("ORIGINS", "shop.example"),
        ("POOL_SIZE", "6"),
        ("LIMIT_SOCKETS", "-1"),
        ("LIMIT_SOCKETS", "0.5"),
        ("LIMIT_PAGE", "0"),
        ("LIMIT_PAGE", "101"),
        ("LIMIT_FRAME_BYTES", "0"),
        ("LIMIT_SOCKET", "3"),
    ],
)
def test_a_wrong_setting_is_named_and_never_repeated(name: str, value: str) -> None:
    sentence = refused(**{name: value})
    assert PREFIX + name in sentence
    assert sentence.endswith(".")
    if name == "JWT_SECRET":
        assert value not in sentence


def test_one_way_for_tokens_to_be_right() -> None:
    assert "not both" in refused(JWT_SECRET=SECRET, JWKS_URL="https://a/jwks")


def test_serve_names_all_that_is_missing() -> None:
    with pytest.raises(SettingsError) as caught:
        read().require_for_serve()
    for name in ("DATABASE_URL", "FEED_URL", "JWT_SECRET", "JWKS_URL"):
        assert PREFIX + name in str(caught.value)


@pytest.mark.parametrize("key", [{"JWT_SECRET": SECRET}, {"JWKS_URL": "https://a/jwks"}])
def test_serve_needs_two_urls_and_one_kind_of_key(key: dict[str, str]) -> None:
    read(DATABASE_URL="postgresql://a", FEED_URL="postgresql://b", **key).require_for_serve()


def test_secrets_stay_out_of_what_is_printed() -> None:
    settings = read(DATABASE_URL="postgresql://u:hunter2@h/d", JWT_SECRET=SECRET)
    assert "hunter2" not in repr(settings)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("Web-1.example.com", 8080, "web_1_example_com_8080"),
        ("x" * 80, 8080, "x" * 43 + "_8080"),
        ("---", 1, "host_1"),
    ],
)
def test_the_instance_is_made_of_host_and_port(host: str, port: int, name: str) -> None:
    assert default_instance(host, port) == name


def test_instance_name_prefers_the_setting() -> None:
    assert read(INSTANCE="web_1").instance_name == "web_1"
    assert read(PORT="81").instance_name.endswith("_81")


def test_every_setting_has_its_variable() -> None:
    assert f"{PREFIX}DATABASE_URL" in SETTING_NAMES
    assert f"{PREFIX}LIMIT_SENDS_PER_SECOND" in SETTING_NAMES
    assert len(set(SETTING_NAMES)) == len(SETTING_NAMES)


@pytest.mark.parametrize("name", ["SENDS_PER_SECOND", "SEND_BURST"])
def test_sends_are_unlimited_where_either_limit_is_off(name: str) -> None:
    assert read(**{f"LIMIT_{name}": "0"}).limits.sends == (0, 0)
    assert read().limits.sends == (10, 200)


@pytest.mark.parametrize("name", ["FRAMES_PER_SECOND", "FRAME_BURST"])
def test_frames_are_unlimited_where_either_limit_is_off(name: str) -> None:
    assert read(**{f"LIMIT_{name}": "0"}).limits.frames == (0, 0)
    assert read().limits.frames == (50, 400)


def test_times_can_be_off_and_sizes_cannot() -> None:
    limits = read(LIMIT_AUTH_SECONDS="0", LIMIT_REQUEST_SECONDS="0").limits
    assert (limits.auth_seconds, limits.request_seconds) == (0, 0)
    for name in ("FRAME_BYTES", "BODY_BYTES", "PAGE", "WAITING_SENDS", "SOCKET_QUEUE"):
        assert "from 1" in refused(**{f"LIMIT_{name}": "0"})


def test_limits_can_all_be_off() -> None:
    off = LimitSettings.off()
    assert off.sends_per_second == off.starts_per_hour == off.sockets == off.frames_per_second == 0


@pytest.mark.parametrize("name", ["DATABASE_URL", "ADMIN_URL", "FEED_URL", "RETENTION_URL"])
@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://owner:s3cret@h/d",
        "mysql://owner:s3cret@h/d",
        "'postgresql://owner:s3cret@h/d'",
        "postgresql://owner:s3cret%zz@h/d",
        "postgresql://owner:s3c@ret@h/d",
        "postgresql://owner:s3c/ret@h/d",
        "postgresql://owner:x@[s3cret/d",
        "owner:s3cret@h/d",
    ],
)
def test_a_wrong_address_is_refused_and_never_quoted(name: str, address: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(**{name: address})
    assert f"{PREFIX}{name} is no address" in str(refused.value)
    assert "s3c" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://h",
        "postgres://u:p%40ss@h:5432,[::1]:5433/d?sslmode=require",
        "postgresql:///d?host=/var/run/postgresql",
        "host=/var/run/postgresql dbname=d",
    ],
)
def test_all_that_the_driver_reads_is_an_address(address: str) -> None:
    assert read(DATABASE_URL=address).database_url == address
