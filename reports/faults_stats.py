"""RunFacts of a run as somebody else may write them: every mutation of valid ones works, or is refused by name.

    python reports/faults_stats.py [--quick]

One value at a time is changed and followed through reading, estimating, comparing and showing.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "reports")]

from faults_count import Count  # noqa: E402

# What stands in place of a value: of another type, out of any range, or as JSON does not have it.
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, 1e-320, 1e308, -1e308, 10**18, 10**400, float("nan"), float("inf"),
    float("-inf"), "", "x", "1", "\x1b[31m\u202e", "\ud800", "x" * 30_000, [], [1, 2, 3], [None], [[]], {}, {"a": 1},
    {"point": 1, "low": 2, "high": 3}, {"point": float("nan"), "low": 0, "high": 1},
)  # fmt: skip
TEXTS = (
    "", " ", "null", "true", "0", "1e999", "NaN", "[]", "{}", '"x"', "[" * 100_000, '{"a":' * 1300 + "1" + "}" * 1300,
    "{'a': 1}", '{"schema_version":"99"}', '{"schema_version":null}', '{"schema_version":1}', "\x00", "\ufeff{}",
)  # fmt: skip


def run_chain(text: str) -> str:
    """What comes of a stats text: ``shown`` or ``refused``; any other exception is the fault that is looked for."""
    from greenlove_mlflow.core.account.estimate import estimate_training
    from greenlove_mlflow.core.account.run_facts import RunFacts
    from greenlove_mlflow.errors import GreenloveError
    from greenlove_mlflow.stored.stored_runs import StoredComparer
    from greenlove_mlflow.words.html import format_comparison_html, format_estimate_html
    from greenlove_mlflow.words.plain_text import format_comparison, format_estimate

    try:
        facts = RunFacts.from_json(text)
        estimate = estimate_training(facts)
        comparison = StoredComparer().compare(estimate)
        shown = [format_estimate(estimate), format_estimate_html(estimate)]
        if comparison is not None:
            shown += [format_comparison(comparison), format_comparison_html(comparison)]
    except GreenloveError:
        return "refused"
    whole = "\n".join(shown)
    if any(char in whole for char in "\x1b\x07\u202e\ud800"):
        raise AssertionError("a control character is shown")
    if "nan" in whole.lower().split() or "inf" in whole.lower().split():
        raise AssertionError("a figure is not finite")
    whole.encode("utf-8")
    return "shown"


def mutations(valid: str, limit: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Name and text of mutations: texts that are no statistics, then every value replaced, dropped, doubled or torn."""
    for text in TEXTS:
        yield f"text {text[:20]!r}", text
    content = json.loads(valid)
    places = list(_places(content, ()))
    chosen = random.Random(seed)
    cases = [(place, index) for place in places for index in range(len(ODD_VALUES))]
    others = [(place, kind) for place in places for kind in ("drop", "add")]
    mixed: list[tuple[tuple[Any, ...], Any]] = [*cases, *others]
    chosen.shuffle(mixed)
    for place, what in mixed[: max(0, limit - len(TEXTS) - 40)]:
        yield f"{'.'.join(map(str, place))} <- {_name(what)}", json.dumps(_changed(content, place, what))
    for _ in range(40):
        cut = chosen.randrange(len(valid))
        yield f"torn at {cut}", valid[:cut]


def try_mutations(valid: str, *, limit: int) -> Count:
    """Mutations of one valid text through the whole chain."""
    count = Count("mutations of greenlove.stats through reading, estimating, comparing and showing")
    for name, text in mutations(valid, limit):
        try:
            count.add(name, outcome=run_chain(text))
        except BaseException as error:  # noqa: BLE001, PERF203 - what escapes is what is looked for
            count.add(name, problem=f"{type(error).__name__}: {str(error)[:100]}", outcome="escaped")
    return count


def count_stats(*, limit: int) -> Count:
    """Mutations of the statistics of a measured training."""
    from tests.support.report import a_measured_training

    estimate, _ = a_measured_training()
    return try_mutations(estimate.statistics.to_json(), limit=limit)


def _places(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*place, key))


def _changed(content: Any, place: tuple[Any, ...], what: Any) -> Any:
    content = copy.deepcopy(content)
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    if what == "drop":
        del parent[place[-1]]
    elif what == "add" and isinstance(parent, dict):
        parent["of_the_future"] = 1
    elif what == "add":
        parent.append(parent[place[-1]])
    else:
        parent[place[-1]] = ODD_VALUES[what]
    return content


def _name(what: Any) -> str:
    return what if isinstance(what, str) else ascii(ODD_VALUES[what])[:24]


if __name__ == "__main__":
    found = count_stats(limit=150 if "--quick" in sys.argv else 3000)
    print("\n".join(found.wrong))
    print(f"{found.part}: {found.tried} tried, {found.right} right, {len(found.wrong)} wrong; {found.outcomes}")
    sys.exit(bool(found.wrong))
