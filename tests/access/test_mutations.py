"""No policy, trigger, helper or grant can be weakened without a red test.

`make test` mutates a fixed sample, `make proof` (PROOF=1) everything. The names of the mutants are
printed at the end of a proof.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest

from tests.access.attempts import Stage
from tests.access.mutations import (
    Mutant,
    helpers,
    policies,
    refused_by_catalog,
    removed_grants,
    survives,
    triggers,
    widened_grants,
)

IS_PROOF = bool(os.environ.get("PROOF"))

pytestmark = [
    pytest.mark.parametrize("cluster", ["pg18"], indirect=True),
    pytest.mark.parametrize("scene", ["standalone"], indirect=True),
]

Record = Callable[[str, object], None]


def _sample(mutants: Sequence[Mutant], every: int) -> Sequence[Mutant]:
    """All in a proof, else the same few every time."""
    return mutants if IS_PROOF else mutants[::every]


def _survivors(
    mutants: Sequence[Mutant], record: Record, is_unnoticed: Callable[[Mutant], bool]
) -> list[str]:
    assert mutants
    survivors = [mutant.name for mutant in mutants if is_unnoticed(mutant)]
    record("mutants", [mutant.name for mutant in mutants])
    return survivors


def test_the_schema_as_it_is_passes(stage: Stage) -> None:
    """Otherwise every mutant would be noticed, for the wrong reason."""
    assert [str(f) for f in stage.try_all(stage.rules.attempts, first=True)] == []


def test_no_policy_is_weakened_unnoticed(stage: Stage, record_property: Record) -> None:
    mutants = _sample(policies(stage), 4)
    assert _survivors(mutants, record_property, lambda m: survives(stage, m)) == []


def test_no_trigger_is_removed_unnoticed(stage: Stage, record_property: Record) -> None:
    mutants = _sample(triggers(stage), 5)
    assert _survivors(mutants, record_property, lambda m: survives(stage, m)) == []


def test_no_helper_says_yes_to_everybody_unnoticed(stage: Stage, record_property: Record) -> None:
    mutants = _sample(helpers(), 4)
    assert _survivors(mutants, record_property, lambda m: survives(stage, m)) == []


def test_no_grant_is_missing_unnoticed(stage: Stage, record_property: Record) -> None:
    """By an attempt that then fails, not only by the list of grants."""
    mutants = _sample(removed_grants(stage), 12)
    assert _survivors(mutants, record_property, lambda m: survives(stage, m)) == []


def test_no_grant_is_added_unnoticed(stage: Stage, record_property: Record) -> None:
    mutants = _sample(widened_grants(stage), 40)
    assert _survivors(mutants, record_property, lambda m: not refused_by_catalog(stage, m)) == []
