"""A saved view of MLflow's experiment page: fate, outcome and estimate of each run, and charts by GPU.

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
from greenlove_mlflow.tracking.spool.mlflow_store import TRAINING_VIEW, without_credentials

VIEW_NAME = "Green Love"
# Number of runs that a bar chart shows at first.
_RUNS_A_CHART = 20
_LEADING_COLUMNS = ("attributes.`Run Name`", "runDateAndNestInfo")
# Wide enough for the longest key of each kind, in pixels.
_WIDTHS = {"attributes": 90, "metrics": 140, "params": 105, "tags": 135}
_TITLES = {
    names.TIME_H: "Hours",
    names.COST_USD: "USD",
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
    query = f"{TRAINING_VIEW}&viewStateShareKey={names.VIEW_ID}"
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
    """Fate, what happened, what was estimated, and where: the first columns are what one screen shows."""
    home = [metric_key(quantity, LOCAL) for quantity in _TITLES if metric_key(quantity, LOCAL) in known]
    actual = (names.ACTUAL_COST_USD, names.ACTUAL_ENERGY_KWH, names.ACTUAL_CO2_KG, names.ACTUAL_TIME_ERROR_RATIO)
    return [
        f"tags.`{names.TAG_STATUS}`",
        *(f"metrics.`{metric}`" for metric in (names.ACTUAL_TIME_H, *home[:1])),
        f"params.`{names.PARAM_COUNTRY}`",
        f"tags.`{names.TAG_BEST_OPTION}`",
        f"tags.`{names.TAG_PRICES_AS_OF}`",
        *(f"metrics.`{metric}`" for metric in (*actual, *home[1:], names.SAVING_USD)),
        *(f"params.`{param}`" for param in _PARAMS),
        f"tags.`{names.TAG_REASON}`",
    ]


def _overview_charts(known: set[str]) -> Iterable[dict[str, Any]]:
    home = {quantity: metric_key(quantity, LOCAL) for quantity in _TITLES if metric_key(quantity, LOCAL) in known}
    actual = {
        names.TIME_H: names.ACTUAL_TIME_H,
        names.COST_USD: names.ACTUAL_COST_USD,
        names.CO2_KG: names.ACTUAL_CO2_KG,
        names.ENERGY_KWH: names.ACTUAL_ENERGY_KWH,
    }
    for quantity, title in _TITLES.items():
        yield _bar("outcome", actual[quantity], f"Took: {title}")
    yield _bar("outcome", names.ACTUAL_TIME_ERROR_RATIO, "Actual over estimated time")
    yield _line("during", "forecast", "Forecast, hours", [names.TRAIN_FORECAST_TIME_H])
    yield _line("during", "epochs", "Seconds an epoch", [names.TRAIN_EPOCH_S])
    yield {
        **_chart("PARALLEL", "plans", "parallel", "Plan and place against the estimate"),
        "selectedParams": [names.PARAM_EPOCHS, names.PARAM_BATCH_SIZE],
        "selectedMetrics": list(home.values())[:2],
        "showAllRuns": True,
    }


def _offer_charts(known: set[str], subjects: Sequence[str]) -> Iterable[dict[str, Any]]:
    """One chart per quantity, a line per option over the dates of the prices."""
    for quantity, title in _TITLES.items():
        keys = [key for subject in subjects if (key := metric_key(quantity, subject)) in known]
        if keys:
            yield _line("offers", quantity, f"{title} by GPU", keys, x_axis="time")


def _sections() -> list[dict[str, Any]]:
    # Title and charts per row; a narrow chart truncates its title.
    sections = {
        "outcome": ("What happened", 2),
        "offers": ("Estimated here and on each offer", 2),
        "during": ("While they ran", 2),
        "plans": ("Plans", 1),
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


def _line(section: str, key: str, title: str, keys: Sequence[str], x_axis: str = "step") -> dict[str, Any]:
    return {
        **_chart("LINE", section, key, title),
        "metricKey": keys[0],
        "selectedMetricKeys": list(keys),
        # The page titles a line chart by all its metrics, cut off, unless it is one of several nodes (MLflow 3.17).
        "nodeLevelSystemMetricConfiguration": {"metric": title, "type": "node"},
        "xAxisKey": x_axis,
        "useGlobalXaxisKey": False,
        "displayPoints": True,
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": True,
    }


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
