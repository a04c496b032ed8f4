"""A saved view of MLflow's experiment page: columns and charts of time, cost and CO2e on each GPU.

By default the experiment page shows no metrics. It stores saved views as experiment tags in an internal format, which
may change; nothing else depends on it.
"""

from __future__ import annotations

import base64
import json
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.offers.compare import Comparison
from greenlove_mlflow.core.quantity import LOCAL, known_figures
from greenlove_mlflow.tracking import names
from greenlove_mlflow.tracking.names import metric_key
from greenlove_mlflow.tracking.spool.mlflow_store import without_credentials

VIEW_NAME = "Green Love: time, cost, energy and CO2e"
# Number of runs that a bar chart shows at first.
_RUNS_A_CHART = 20
_LEADING_COLUMNS = ("attributes.`Run Name`", "runDateAndNestInfo")
# Wide enough for the longest key of each kind, in pixels.
_WIDTHS = {"attributes": 90, "metrics": 165, "params": 130, "tags": 130}
_TITLES = {
    names.TIME_H: "hours",
    names.COST_USD: "US dollars",
    names.CO2_KG: "kg CO2e",
    names.ENERGY_KWH: "kWh",
}
_PARAMS = (names.PARAM_GPU, names.PARAM_EPOCHS, names.PARAM_BATCH_SIZE, names.PARAM_PRECISION)


def saved_view(estimate: Estimate, comparison: Comparison | None) -> str:
    """The value of the experiment tag that holds the view, for the quantities and offers that are known."""
    state = json.dumps(_view_state(estimate, comparison), separators=(",", ":"))
    # Compressed as the page does it: an older store accepts no tag longer than 5,000 characters.
    packed = "deflate;" + base64.b64encode(zlib.compress(state.encode())).decode()
    return json.dumps({"name": VIEW_NAME, "createdAt": time.time_ns() // 1_000_000, "state": packed})


def view_url(store_uri: str, experiment_id: str, *, charts: bool = False) -> str:
    """The URL of the view on a server."""
    base = without_credentials(store_uri).rstrip("/")
    query = f"workflowType=machine_learning&viewStateShareKey={names.VIEW_ID}"
    return f"{base}/#/experiments/{experiment_id}/runs?{query}" + ("&compareRunsMode=CHART" if charts else "")


def print_view_link(url: str) -> None:
    """Print the link to the view, next to MLflow's own links and controlled by the same switch."""
    from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT

    if not MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get():  # type: ignore[no-untyped-call]
        sys.stdout.write(f"Runs side by side, with Green Love's figures: {url}\n")


def _view_state(estimate: Estimate, comparison: Comparison | None) -> dict[str, Any]:
    subjects = [LOCAL] if comparison is None else [LOCAL, *(names.offer_slug(row) for row in comparison.rows)]
    known = _known_keys(estimate, comparison)
    columns = _columns(known)
    return {
        # Re-estimations are runs too, but with no value in any of these columns.
        "searchFilter": f"tags.`{names.TAG_KIND}` = '{names.KIND_TRACK}'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [*_LEADING_COLUMNS, *columns],
        "columnWidths": {column: _WIDTHS[column.split(".")[0]] for column in columns},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": [*_overview_charts(known), *_offer_charts(known, subjects)],
        "compareRunSections": _sections(),
        "viewMaximized": True,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _known_keys(estimate: Estimate, comparison: Comparison | None) -> set[str]:
    keys = {metric_key(quantity.metric, LOCAL) for quantity, _ in known_figures(estimate)}
    for row in comparison.rows if comparison is not None else ():
        keys |= {metric_key(quantity.metric, names.offer_slug(row)) for quantity, _ in known_figures(row.estimate)}
    return keys


def _columns(known: set[str]) -> list[str]:
    metrics = [metric_key(quantity, LOCAL) for quantity in _TITLES if metric_key(quantity, LOCAL) in known]
    metrics += [names.ACTUAL_TIME_H, names.ACTUAL_TIME_ERROR_RATIO, names.SAVING_USD]
    return [
        "attributes.`Duration`",
        *(f"metrics.`{metric}`" for metric in metrics),
        *(f"params.`{param}`" for param in _PARAMS),
        f"tags.`{names.TAG_STATUS}`",
    ]


def _overview_charts(known: set[str]) -> Iterable[dict[str, Any]]:
    home = [metric_key(quantity, LOCAL) for quantity in _TITLES if metric_key(quantity, LOCAL) in known]
    yield {
        **_chart("PARALLEL", "overview", "parallel", "Plan, price and place against what it takes here"),
        "selectedParams": [names.PARAM_EPOCHS, names.PARAM_BATCH_SIZE, names.PARAM_CARBON_G_PER_KWH],
        "selectedMetrics": home,
        "showAllRuns": True,
    }
    for quantity, title in _TITLES.items():
        if metric_key(quantity, LOCAL) in known:
            yield _bar("here", metric_key(quantity, LOCAL), f"here: {title}")
    yield _bar("here", names.SAVING_USD, "US dollars saved by the best value")
    yield _bar("outcome", names.ACTUAL_TIME_ERROR_RATIO, "actual over promised time")
    yield {
        **_chart("LINE", "outcome", "forecast", "forecast of the whole training, hours, after each epoch"),
        "metricKey": names.TRAIN_FORECAST_TIME_H,
        "selectedMetricKeys": [names.TRAIN_FORECAST_TIME_H],
    }
    yield {
        **_chart("LINE", "outcome", "epochs", "seconds of each epoch"),
        "metricKey": names.TRAIN_EPOCH_S,
        "selectedMetricKeys": [names.TRAIN_EPOCH_S],
    }


def _offer_charts(known: set[str], subjects: Sequence[str]) -> Iterable[dict[str, Any]]:
    for quantity in (names.COST_USD, names.TIME_H, names.CO2_KG):
        for subject in subjects:
            if (key := metric_key(quantity, subject)) in known and subject != LOCAL:
                yield _bar(quantity, key, f"{subject}: {_TITLES[quantity]}")


def _sections() -> list[dict[str, Any]]:
    # Title and charts per row; a narrow chart truncates its title.
    sections = {
        "overview": ("Overview", 1),
        "here": ("Here", 2),
        "outcome": ("Promised and happened", 2),
        names.COST_USD: ("US dollars on each offer", 3),
        names.TIME_H: ("Hours on each offer", 3),
        names.CO2_KG: ("kg CO2e on each offer", 3),
    }
    return [
        {
            "uuid": _id(key),
            "name": title,
            "display": True,
            "isReordered": True,
            "deleted": False,
            "isGenerated": False,
            "columns": columns,
            "cardHeight": 360,
        }
        for key, (title, columns) in sections.items()
    ]


def _bar(section: str, key: str, title: str) -> dict[str, Any]:
    return {**_chart("BAR", section, key, title), "metricKey": key}


def _chart(kind: str, section: str, key: str, title: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": _id(f"{section}-{key}"),
        "metricSectionId": _id(section),
        "displayName": title,
        "runsCountToCompare": _RUNS_A_CHART,
        "deleted": False,
        "isGenerated": False,
    }


def _id(text: str) -> str:
    return f"greenlove-{names.slug(text)}"
