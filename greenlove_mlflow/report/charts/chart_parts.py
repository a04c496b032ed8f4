"""Shared parts of the page's charts, which are written in Altair without data.

Each chart names its data sets ("rows", "passes"), which the page fills, and its colours, which the page's style sheet
defines, so that a chart follows the reader's light or dark setting. ``report.charts.build`` compiles
them to Vega once; a page is made without Altair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt

# Names of the style sheet's colours, and placeholders until the page fills them in.
COLOURS = {
    "ink": "#1f2933",
    "soft": "#52606d",
    "line": "#d8dee4",
    "paper": "#ffffff",
    "blue": "#0072b2",
    "vermillion": "#b84a00",
    "green": "#007d5c",
    "purple": "#8e4a7e",
    "orange": "#8f6000",
    "sky": "#2b83b8",
}
# Axis titles whose unit depends on the data; written as "@name" in a chart.
TITLES = {"time_title": "time", "co2_title": "CO2e", "amount_title": "amount"}
# Parameters for the categories in a chart's data; written as a list of one "@name".
SEEN: dict[str, list[str]] = {"phases_seen": [], "devices_seen": [], "roles_seen": []}
# Parameter for the ticks of a money axis: few, and none below one cent.
MONEY_TICKS = "money_ticks"
_MONEY_LABEL = "'$' + (datum.value >= 1000 ? format(datum.value, '~s') : format(datum.value, '~r'))"
# Home has one colour on every surface, offers another.
HOME, OFFER = "vermillion", "blue"

# If a logarithmic axis spans more than this factor, only 1, 2 and 5 of each decade are labelled.
_NARROW_FACTOR = 5


def colour(name: str) -> Any:
    """A colour of the page's style sheet."""
    return alt.ExprRef(name)


def titled(title: str | None, **over: Any) -> Any:
    """An axis in the page's style."""
    look: dict[str, Any] = {
        "title": title,
        "labelColor": colour("soft"),
        "titleColor": colour("soft"),
        "gridColor": colour("line"),
        "domain": False,
        "tickSize": 0,
        "labelPadding": 6,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
    }
    return alt.Axis(**{**look, **over})


def money_axis(title: str) -> Any:
    """A logarithmic axis of dollars."""
    return titled(title, labelExpr=_MONEY_LABEL, values=[f"@{MONEY_TICKS}"])


def log_labels(axis: str) -> str:
    """Labels of a logarithmic axis (``x`` or ``y``) as plain numbers, sparse enough to read."""
    lead = "datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9))"
    is_round = f"indexof([1, 2, 5], round({lead})) >= 0 && abs({lead} - round({lead})) < 0.01"
    is_narrow = f"domain('{axis}')[1] / domain('{axis}')[0] < {_NARROW_FACTOR}"
    return f"({is_narrow}) || ({is_round}) ? format(datum.value, ',~r') : ''"


def log_scale(**over: Any) -> Any:
    """A logarithmic scale."""
    return alt.Scale(type="log", nice=False, padding=14, **over)


def words(*pairs: tuple[str, str]) -> list[Any]:
    """A tooltip of preformatted texts, as pairs of field and heading."""
    return [alt.Tooltip(f"{field}:N", title=heading) for field, heading in pairs]


def coloured(field: str, looks: dict[str, str], *, seen: str = "") -> Any:
    """A colour by category from the style sheet, with a legend above the chart.

    ``seen`` names the parameter for the categories in the data; the legend shows only those.
    """
    return alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=list(looks), range=[colour(name) for name in looks.values()]),
        legend=alt.Legend(
            orient="top",
            title=None,
            values=[f"@{seen}"] if seen else alt.Undefined,
            labelColor=colour("ink"),
            labelFontSize=12,
            symbolOpacity=1.0,
            columns=3,
        ),
    )


def finished(chart: Any, *, height: Any, description: str) -> Any:
    """The chart with the common settings: full width, its height, colours as parameters, no frame.

    Args:
        chart: The Altair chart.
        height: Height of the chart, or a step per row.
        description: Text alternative for readers who cannot see the chart.
    """
    params = [
        alt.param(name=name, value=value) for name, value in {**COLOURS, **TITLES, **SEEN, MONEY_TICKS: []}.items()
    ]
    return (
        chart.properties(width="container", height=height, background="transparent", description=description)
        .add_params(*params)
        .configure(
            font="system-ui, sans-serif",
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
            view=alt.ViewConfig(stroke="transparent"),
        )
    )


CHARTS: dict[str, Callable[[], Any]] = {}


def chart(maker: Callable[[], Any]) -> Callable[[], Any]:
    """Register a chart under the name of the function that makes it."""
    CHARTS[maker.__name__] = maker
    return maker
