"""The registry of caveats: every code of the package once, each sentence with the values it needs."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import greenlove_mlflow
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.caveats import CAVEATS
from greenlove_mlflow.core.caveats.offer_caveats import OFFER_KINDS, PLACE_KINDS
from greenlove_mlflow.core.caveats.training_caveats import POWER_KINDS, TIME_KINDS
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.errors import InvalidInputError

PACKAGE = Path(greenlove_mlflow.__file__).parent


def calls_of_caveat() -> Iterator[tuple[str, ast.Call]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Caveat", "Caveat.of"):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def test_no_code_outside_the_registry() -> None:
    used = {place: call.args[0].value for place, call in calls_of_caveat() if ast.unparse(call.func) == "Caveat.of"}  # type: ignore[attr-defined]
    assert {place: code for place, code in used.items() if code not in CAVEATS} == {}
    assert len(used) > 50


def test_the_package_makes_caveats_by_their_code_alone() -> None:
    made_freely = [place for place, call in calls_of_caveat() if ast.unparse(call.func) == "Caveat"]
    assert made_freely == []


def test_every_code_has_one_home_and_is_used() -> None:
    tables = (TIME_KINDS, POWER_KINDS, OFFER_KINDS, PLACE_KINDS)
    assert sum(len(table) for table in tables) == len(CAVEATS)
    used = {call.args[0].value for _, call in calls_of_caveat() if ast.unparse(call.func) == "Caveat.of"}  # type: ignore[attr-defined]
    assert set(CAVEATS) - used == set()


def test_a_caveat_that_asks_to_act_says_how() -> None:
    silent = [
        code
        for code, kind in CAVEATS.items()
        if kind.severity == "act" and not kind.remedy and not kind.sentence.rstrip().endswith("{advice}")
    ]
    # Their sentence is the advice itself, or an error that says what to do.
    assert sorted(silent) == ["no-comparison", "train-later"]


def test_a_caveat_fills_its_sentence_and_its_remedy() -> None:
    caveat = Caveat.of("old-price", gpu="L40S 48GB", provider="Crusoe", as_of="2026-01-02", age_days=200)
    assert caveat.message == "the price of L40S 48GB at Crusoe dates from 2026-01-02, 200 days ago; look it up again"
    assert caveat.severity == "act"


def test_a_caveat_without_its_values_or_of_no_kind_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="old-price"):
        Caveat.of("old-price", gpu="L40S 48GB")
    with pytest.raises(InvalidInputError, match="no-such-code"):
        Caveat.of("no-such-code")


def test_a_caveat_of_another_version_keeps_its_words() -> None:
    assert Caveat(code="of-the-future", text="something new").message == "something new"
    assert Caveat(code="of-the-future").message == "of-the-future"
    assert Caveat(code="of-the-future").severity == "note"


def test_a_run_of_the_first_schema_keeps_the_sentences_of_its_caveats(gpu_run: RunFacts) -> None:
    plain = json.loads(dataclasses.replace(gpu_run, schema_version="1").to_json())
    old = {**plain, "caveats": [{"code": "drift", "message": "it drifted"}]}
    assert RunFacts.from_json(json.dumps(old)).caveats[0].message == "it drifted"


@pytest.fixture
def gpu_run() -> RunFacts:
    from tests.support.reestimation import gpu_statistics

    return gpu_statistics(caveats=())
