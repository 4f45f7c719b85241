"""The command line as somebody uses it: a real process, its words and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jwt
import pytest

from bookconnect_dm import __version__
from bookconnect_dm.embedded import EmbeddedPostgres
from tests.helpers.postgres import Database
from tests.helpers.server import free_port
from tests.helpers.world import World

_COMMAND = [str(Path(sys.executable).parent / "bookconnect-dm")]
_SECRET = "a secret of thirty-two bytes or more"


def _run(
    *arguments: str, settings: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if "BOOKCONNECT" not in name}
    env |= {f"BOOKCONNECT_DM_{name}": value for name, value in (settings or {}).items()}
    return subprocess.run(
        [*_COMMAND, *arguments],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _settings(world: World) -> dict[str, str]:
    return {
        "ADMIN_URL": world.db.admin_url,
        "DATABASE_URL": world.db.server_url,
        "FEED_URL": world.db.feed_url,
        "JWT_SECRET": _SECRET,
    }


def test_the_version_is_the_packages() -> None:
    assert _run("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    "command",
    ["", "demo", "serve", "token", "doctor", "migrate", "migrate up", "migrate down",
     "migrate status", "migrate verify", "migrate export", "retention", "retention run",
     "capacity", "compact", "load", "load allow", "load run", "load end",
     "backup", "backup verify", "backup list", "restore", "restore note", "restore apply"],
)  # fmt: skip
def test_every_command_explains_itself(command: str) -> None:
    done = _run(*command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: bookconnect-dm")


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (
            ["serve"],
            {},
            ["BOOKCONNECT_DM_DATABASE_URL", "BOOKCONNECT_DM_FEED_URL", "BOOKCONNECT_DM_JWT_SECRET"],
        ),
        (["migrate", "up"], {}, ["BOOKCONNECT_DM_ADMIN_URL"]),
        (["doctor"], {}, ["BOOKCONNECT_DM_ADMIN_URL"]),
        (["compact"], {}, ["BOOKCONNECT_DM_ADMIN_URL"]),
        (["load", "allow"], {}, ["BOOKCONNECT_DM_ADMIN_URL"]),
        (["load", "run"], {"ADMIN_URL": "postgresql://x"}, ["BOOKCONNECT_DM_JWT_SECRET"]),
        (["retention", "run", "--once"], {}, ["BOOKCONNECT_DM_RETENTION_URL"]),
        (["token", "--user", "ada"], {}, ["BOOKCONNECT_DM_JWT_SECRET", "make demo"]),
        (["token", "--user", "ada"], {"JWT_SECRET": "short"}, ["32 bytes"]),
        (["token", "--user", "ada"], {"JWT_SECRET": _SECRET}, ["DATABASE_URL", "id"]),
        (
            ["token", "--user", "ada"],
            {"JWT_SECRET": _SECRET, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"},
            ["does not answer", "BOOKCONNECT_DM_DATABASE_URL", "id"],
        ),
        (
            ["migrate", "status"],
            {"ADMIN_URL": "postgresql://nobody@127.0.0.1:1/x"},
            ["does not answer"],
        ),
        (["migrate", "up"], {"HOST_ADAPTER": "wordpress"}, ["standalone", "supabase"]),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], words: list[str]
) -> None:
    done = _run(*arguments, cwd=tmp_path, settings=settings)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("bookconnect-dm: ")
    assert all(word in lines[0] for word in words), lines[0]


def test_a_token_stands_for_the_member_and_ends(world: World) -> None:
    done = _run("token", "--user", "ada", "--ttl", "90s", settings=_settings(world))
    claims = jwt.decode(
        done.stdout.strip(), _SECRET, algorithms=["HS256"], audience="authenticated"
    )
    assert claims["sub"] == str(world.ada)
    assert claims["role"] == "authenticated"
    assert claims["exp"] - claims["iat"] == 90


def test_a_token_for_nobody_is_refused(world: World) -> None:
    done = _run("token", "--user", "nobody", settings=_settings(world))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1


def test_a_token_of_a_database_that_was_not_migrated(empty_pg: Database) -> None:
    settings = {"JWT_SECRET": _SECRET, "DATABASE_URL": empty_pg.admin_url}
    done = _run("token", "--user", "ada", settings=settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert "migrate status" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def stopped_demo(tmp_path: Path) -> Path:
    """A folder in which there is a demo that does not run."""
    (tmp_path / ".demo").mkdir()
    secrets = tmp_path / ".demo" / "secrets.json"
    secrets.write_text(json.dumps({"port": free_port()}), encoding="utf-8")
    secrets.chmod(0o600)
    return tmp_path


def test_a_token_of_a_demo_that_is_stopped_says_how_to_start_it(stopped_demo: Path) -> None:
    done = _run("token", "--user", "ada", cwd=stopped_demo)
    assert (done.returncode, done.stdout) == (1, "")
    assert "make demo" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command", ["backup", "backup list", "backup verify", "restore --to latest"]
)
def test_the_demo_is_not_taken_for_a_server_of_ones_own(stopped_demo: Path, command: str) -> None:
    own = {"ADMIN_URL": "postgresql://owner:s3cret@db.example/app"}
    done = _run(*command.split(), settings=own, cwd=stopped_demo)
    assert (done.returncode, done.stdout) == (1, "")
    for words in ("BOOKCONNECT_DM_ADMIN_URL", "BOOKCONNECT_DM_BACKUP_STANZA", ".demo"):
        assert words in done.stderr
    assert "s3cret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_demo_s_own_address_is_no_other_server(stopped_demo: Path) -> None:
    demo = {"ADMIN_URL": EmbeddedPostgres(stopped_demo / ".demo").admin_url}
    done = _run("backup", "list", settings=demo, cwd=stopped_demo)
    assert (done.returncode, done.stdout) == (0, "There are no backups.\n"), done.stderr


def test_a_token_for_an_id_that_the_host_does_not_know_comes_with_a_word_about_it(
    world: World,
) -> None:
    """The host may make the member later, so it is no error; the token is all of the output."""
    stranger = "b0000000-0000-4000-8000-0000000000ff"
    done = _run("token", "--user", stranger, settings=_settings(world))
    claims = jwt.decode(
        done.stdout.strip(), _SECRET, algorithms=["HS256"], audience="authenticated"
    )
    assert (done.returncode, claims["sub"]) == (0, stranger)
    assert done.stderr == f"bookconnect-dm: The host knows no member {stranger} so far.\n"
    known = _run("token", "--user", str(world.ada), settings=_settings(world))
    assert (known.returncode, known.stderr) == (0, "")
    away = "postgresql://nobody@127.0.0.1:1/nowhere"
    offline = _run(
        "token", "--user", stranger, settings={"JWT_SECRET": _SECRET, "DATABASE_URL": away}
    )
    assert (offline.returncode, offline.stderr) == (0, "")


@pytest.mark.parametrize("ttl", ["soon", "0s", "-5s", "366d", "8761h", "365000000d"])
def test_a_token_for_no_time_or_for_ever_is_refused(ttl: str) -> None:
    somebody = "b0000000-0000-4000-8000-000000000001"
    done = _run("token", "--user", somebody, "--ttl", ttl, settings={"JWT_SECRET": _SECRET})
    assert (done.returncode, done.stdout) == (1, "")
    assert "at most 365d" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_doctor_finds_a_fresh_installation_well(world: World) -> None:
    done = _run("doctor", settings=_settings(world))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout
    unasked = [line for line in done.stdout.splitlines() if "not checked" in line]
    assert len(unasked) == 2
    assert "how the retention worker connects (not set: BOOKCONNECT_DM_RETENTION_URL)" in unasked[0]
    assert "backups, and the room for them (not set: BOOKCONNECT_DM_BACKUP_FOLDER)" in unasked[1]
    only_owner = {"ADMIN_URL": world.db.admin_url, "BACKUP_STANZA": "shop"}
    done = _run("doctor", settings=only_owner)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "(not set: BOOKCONNECT_DM_DATABASE_URL)",
        "(not set: BOOKCONNECT_DM_FEED_URL)",
        "how tokens are checked (not set: BOOKCONNECT_DM_JWKS_URL, BOOKCONNECT_DM_JWT_SECRET)",
        "backup list --max-age 8d",
    ):
        assert "-     not checked: " in done.stdout
        assert words in done.stdout


def test_doctor_slow_that_cannot_look_prints_no_empty_table(world: World) -> None:
    done = _run("doctor", "--slow", settings=_settings(world))
    assert (done.returncode, done.stdout) == (1, "")
    assert "pg_stat_statements" in done.stderr


def test_doctor_names_what_is_wrong_and_what_to_do(world: World) -> None:
    world.db.run('drop policy "Users see their messages" on public.direct_messages')
    world.converse(world.ada, world.ben)
    world.db.run("update conversations set position = now() + interval '1 hour'")
    nobody = "postgresql://x@127.0.0.1:1/x"
    wrong = {"FEED_URL": nobody, "DATABASE_URL": world.db.admin_url, "RETENTION_URL": nobody}
    done = _run("doctor", settings=_settings(world) | wrong)
    assert done.returncode == 1
    for words in (
        "WRONG the schema is as",
        "then migrate verify",
        "WRONG the feed can connect",
        "and at host and port in BOOKCONNECT_DM_FEED_URL.",
        "WRONG the retention worker can connect",
        "WRONG no conversation's clock is ahead of time",
        "1 are: correct the clock",
        "WRONG the login that the API uses",
        "Put bookconnect_dm_server into its address.",
    ):
        assert words in done.stdout


def test_doctor_of_an_empty_database_says_migrate(world: World) -> None:
    settings = _settings(world)
    assert _run("migrate", "down", "--force", settings=settings).returncode == 0
    done = _run("doctor", settings=settings)
    assert (done.returncode, "Run migrate up." in done.stdout) == (1, True)
    assert _run("migrate", "status", settings=settings).returncode == 1
    assert _run("migrate", "up", settings=settings).returncode == 0
    assert _run("migrate", "verify", settings=settings).returncode == 0
