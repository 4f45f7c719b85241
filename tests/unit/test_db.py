from __future__ import annotations

import re
from importlib.resources import files

import psycopg
import pytest
from psycopg import errors

from bookconnect_dm.db import load_queries, problem_from
from bookconnect_dm.errors import Problem


class Diagnosed(psycopg.Error):
    """An error of our own SQL, as `messaging.fail` raises it."""

    def __init__(self, state: str, code: str, detail: str = "", hint: str = "") -> None:
        super().__init__(code)
        self.sqlstate = state
        self._said = (code, detail, hint)

    @property
    def diag(self) -> object:  # type: ignore[override]
        code, detail, hint = self._said

        class Said:
            message_primary = code
            message_detail = detail
            message_hint = hint

        return Said()


def test_statements_are_found_by_name() -> None:
    text = "-- a comment\n\n-- name: one\nselect 1;\n\n-- name: two\n-- why\nselect\n  2\n"
    assert load_queries(text) == {"one": "select 1", "two": "-- why\nselect\n  2"}


def test_a_name_given_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="twice"):
        load_queries("-- name: one\nselect 1\n-- name: one\nselect 2\n")


def test_every_statement_that_speaks_for_a_member_says_so_first() -> None:
    """Whoever acts goes through become(), membership() or a batch; nothing else takes an actor."""
    for name, text in load_queries().items():
        if re.search(r"%\((actors?|sender)\)s", text):
            first = re.search(r"messaging\.(\w+)\(\s*%\((?:actors?|sender)\)s", text)
            assert first, name
            assert first[1] in {"become", "membership", "send_one", "send_batch"}, name


def test_every_use_of_become_is_depended_on() -> None:
    for name, text in load_queries().items():
        if "messaging.become" in text:
            assert text.count("me.ok") >= 1, name
            rest = text.split("me (ok)", 1)[1]
            assert "public." in rest or "messaging.inbox(" in rest, name


def test_the_file_of_statements_is_the_only_one_with_ours() -> None:
    assert load_queries() == load_queries(
        (files("bookconnect_dm") / "sql" / "queries.sql").read_text("utf-8")
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InsufficientPrivilege(), "PERMISSION_DENIED"),
        (errors.LockNotAvailable(), "UNAVAILABLE"),
        (errors.QueryCanceled(), "UNAVAILABLE"),
        (errors.SerializationFailure(), "UNAVAILABLE"),
        (errors.DeadlockDetected(), "UNAVAILABLE"),
        (errors.AdminShutdown(), "UNAVAILABLE"),
        (errors.CannotConnectNow(), "UNAVAILABLE"),
        (errors.TooManyConnections(), "UNAVAILABLE"),
        (errors.ConnectionFailure(), "UNAVAILABLE"),
        (errors.DiskFull(), "UNAVAILABLE"),
        (errors.ReadOnlySqlTransaction(), "UNAVAILABLE"),
        (errors.InvalidTextRepresentation(), "INVALID_REQUEST"),
        (errors.UntranslatableCharacter(), "INVALID_REQUEST"),
        (errors.DatetimeFieldOverflow(), "INVALID_REQUEST"),
        (errors.UndefinedFunction(), "INTERNAL"),
        (errors.SyntaxError(), "INTERNAL"),
        (psycopg.OperationalError("the connection is lost"), "UNAVAILABLE"),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL"), "INVALID_REQUEST"),
        (psycopg.InterfaceError("confused"), "INTERNAL"),
        (TimeoutError(), "UNAVAILABLE"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), "INVALID_REQUEST"),
        (ZeroDivisionError(), "INTERNAL"),
        (Problem("CONFLICT"), "CONFLICT"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_each_error_of_the_database_has_its_code(error: Exception, code: str) -> None:
    assert problem_from(error).code == code


def test_our_own_errors_keep_their_words_and_their_field() -> None:
    said = problem_from(Diagnosed("PT404", "USER_NOT_FOUND", "Nobody.", "recipient"))
    assert (said.code, said.detail, said.field) == ("USER_NOT_FOUND", "Nobody.", "recipient")
    assert problem_from(Diagnosed("PT404", "USER_NOT_FOUND")).field is None


def test_a_code_of_a_newer_database_counts_as_internal() -> None:
    assert problem_from(Diagnosed("PT418", "TEAPOT")).code == "INTERNAL"


def test_words_of_the_database_that_are_not_ours_go_to_nobody() -> None:
    leaky = errors.CheckViolation("Failing row contains (secret text)")
    assert "secret" not in problem_from(leaky).detail
