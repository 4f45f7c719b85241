"""The list of files: its order, its rollbacks, and the same as files for Supabase. No database."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bookconnect_dm.migrations import (
    ADAPTERS,
    Migration,
    MigrationError,
    export_supabase,
    in_order,
    plan,
    rollback_of,
    undone,
)
from tests.helpers.migrating import NEXT, next_name
from tests.helpers.supabase_cli import LONGEST, cut

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_order_is_roles_host_the_missions_five_files_catalog(adapter: str) -> None:
    assert [re.sub(r"^\d{8}_", "", m.name) for m in plan(adapter)] == [
        "host/roles",
        f"host/{adapter}",
        "host/contract",
        "001_direct_messaging_schema",
        "002_direct_messaging_rls",
        "003_direct_messaging_indexes",
        "004_direct_messaging_functions",
        "005_direct_messaging_triggers",
        "catalog",
    ]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_file_has_a_rollback_and_no_include_is_left(adapter: str) -> None:
    for migration in plan(adapter):
        assert rollback_of(migration.name)
        assert "-- include" not in migration.text


def test_only_tables_and_indexes_are_versioned() -> None:
    versioned = [m.name for m in plan("standalone") if m.is_versioned]
    assert versioned == [
        "20261122_001_direct_messaging_schema",
        "20261122_003_direct_messaging_indexes",
    ]


def test_a_later_table_change_comes_before_the_code_that_uses_it() -> None:
    names = [next_name("reactions"), *(m.name for m in plan("standalone"))]
    ordered = [m.name for m in in_order(Migration(name, "") for name in names)]
    assert ordered[3].endswith("001_direct_messaging_schema")
    after = ordered.index(next_name("reactions")) + 1
    assert ordered[after].endswith("002_direct_messaging_rls")


def test_rolling_a_later_table_change_back_takes_the_code_with_it() -> None:
    names = [next_name("reactions"), *(m.name for m in plan("standalone"))]
    assert [re.sub(r"^\d{8}_", "", name) for name in undone(names, to=NEXT - 1)] == [
        "catalog",
        "005_direct_messaging_triggers",
        "004_direct_messaging_functions",
        "002_direct_messaging_rls",
        f"{NEXT:03}_reactions",
    ]
    assert undone([m.name for m in plan("standalone")], to=NEXT - 1) == []


@pytest.mark.parametrize("adapter", ["nothing", "missing.sql", "roles", "../roles.sql"])
def test_an_unknown_adapter_is_refused(adapter: str) -> None:
    with pytest.raises(MigrationError, match="choose one of standalone, bookconnect, supabase"):
        plan(adapter)


def test_an_adapter_of_ones_own_takes_no_name_of_ours(tmp_path: Path) -> None:
    own = tmp_path / "standalone.sql"
    own.write_text("select 1;")
    with pytest.raises(MigrationError, match="under a name of its own"):
        plan(str(own))


# --- export -------------------------------------------------------------------------------------


def exported(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.sql"))


def test_exported_files_have_versions_of_their_own_in_the_order_of_applying(tmp_path: Path) -> None:
    paths = export_supabase(tmp_path, at=AT)
    names = exported(tmp_path)
    assert names == [path.name for path in paths]
    assert len({name[:14] for name in names}) == len(names)
    assert all(re.fullmatch(r"\d{14}_bookconnect_dm_\w+\.sql", name) for name in names)
    assert [name[15:] for name in names] == [
        "bookconnect_dm_runner.sql",
        "bookconnect_dm_clear.sql",
        "bookconnect_dm_host_roles.sql",
        "bookconnect_dm_host_supabase.sql",
        "bookconnect_dm_host_contract.sql",
        "bookconnect_dm_001_direct_messaging_schema.sql",
        "bookconnect_dm_002_direct_messaging_rls.sql",
        "bookconnect_dm_003_direct_messaging_indexes.sql",
        "bookconnect_dm_004_direct_messaging_functions.sql",
        "bookconnect_dm_005_direct_messaging_triggers.sql",
        "bookconnect_dm_catalog.sql",
    ]


def test_exported_files_come_after_the_projects_own(tmp_path: Path) -> None:
    (tmp_path / "20991231235959_the_hosts.sql").write_text("select 1;")
    (tmp_path / "seed.sql").write_text("select 1;")
    export_supabase(tmp_path, at=AT)
    ours = [name for name in exported(tmp_path) if "bookconnect_dm" in name]
    assert min(ours) > "20991231235959"


def test_supabases_tool_sees_each_file_as_one_statement(tmp_path: Path) -> None:
    """It would cut a standard function body at the END of a CASE, or in the middle of `sender`."""
    functions = next(m for m in plan("supabase") if m.number == 4).text
    assert any(
        "begin atomic" in piece and not piece.rstrip().endswith("end;") for piece in cut(functions)
    )
    for path in export_supabase(tmp_path, at=AT):
        text = path.read_text("utf-8")
        assert len(cut(text)) == 1
        assert len(text.encode()) < LONGEST


def test_exporting_again_writes_nothing(tmp_path: Path) -> None:
    export_supabase(tmp_path, at=AT)
    before = exported(tmp_path)
    assert export_supabase(tmp_path) == []
    assert exported(tmp_path) == before


def test_exporting_the_next_release_writes_its_code_as_new_files(
    next_release: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = export_supabase(out, at=AT)
    texts = {path: path.read_text("utf-8") for path in first}
    changed = next_release / "functions" / "support.sql"
    changed.write_text(changed.read_text("utf-8") + "\n-- mended\n")
    (next_release / "migrations" / f"{next_name('reactions')}.sql").write_text("select 6;")

    second = export_supabase(out, at=AT)
    assert {path: path.read_text("utf-8") for path in first} == texts
    assert min(second) > max(first)
    names = [path.name[15:] for path in second]
    assert f"bookconnect_dm_{NEXT:03}_reactions.sql" in names
    assert "bookconnect_dm_004_direct_messaging_functions.sql" in names
    assert "bookconnect_dm_001_direct_messaging_schema.sql" not in names
    assert export_supabase(out, at=AT) == []


def test_an_edited_exported_table_file_is_refused(tmp_path: Path) -> None:
    paths = export_supabase(tmp_path, at=AT)
    schema = next(path for path in paths if "_001_" in path.name)
    schema.write_text(schema.read_text("utf-8").replace("1000", "2000"))
    with pytest.raises(MigrationError, match="a released table migration is never edited"):
        export_supabase(tmp_path, at=AT)
