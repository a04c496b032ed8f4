"""The charts of an experiment's page."""

from __future__ import annotations

from typing import Any

import altair as alt

from greenlove_mlflow.report.charts.specs import (
    HOME,
    OFFER,
    chart,
    colour,
    coloured,
    finished,
    log_labels,
    log_scale,
    money_axis,
    titled,
    words,
)

KEPT = {"within its range": "blue", "outside its range": "vermillion"}


@chart
def calibration() -> Any:
    """Actual against estimated time of each finished run, with the range of the estimate."""
    base = alt.Chart(alt.NamedData("runs"))
    x = alt.X("promised:Q", scale=log_scale(), axis=titled("@time_title", labelExpr=log_labels("x"), grid=False))
    y = alt.Y("ratio:Q", scale=alt.Scale(zero=False, padding=12), axis=titled("took / estimated", tickCount=6))
    kept = coloured("kept", KEPT, seen="roles_seen")
    one = alt.Chart(alt.NamedData("one")).mark_rule(color=colour("soft"), strokeDash=[5, 4]).encode(y="ratio:Q")
    ranges = base.mark_rule(strokeWidth=5, opacity=0.22).encode(x=x, y="low:Q", y2="high:Q", color=kept)
    tooltip = words(("name", "Run"), ("promised_text", "Estimated"), ("actual_text", "Took"), ("off_text", "Off by"))
    shape = alt.Shape("kept:N", scale=alt.Scale(domain=list(KEPT), range=["circle", "diamond"]), legend=None)
    points = base.mark_point(filled=True, size=80, opacity=1.0).encode(
        x=x, y=y, color=kept, shape=shape, tooltip=tooltip
    )
    return finished(one + ranges + points, height=300, description="Actual over estimated time of each training")


@chart
def months() -> Any:
    """Electricity cost of each month's runs."""
    base = alt.Chart(alt.NamedData("months"))
    y = alt.Y("month:N", sort=None, axis=titled(None, grid=False, labelColor=colour("ink")))
    x = alt.X(
        "cost:Q", scale=alt.Scale(zero=True), axis=titled("cost of electricity, US dollars", tickCount=2, format="~s")
    )
    tooltip = words(
        ("month", "Month"), ("runs", "Trainings"), ("time_text", "Time"), ("energy_text", "Energy"),
        ("cost_text", "Cost"), ("co2_text", "CO2e"),
    )  # fmt: skip
    bars = base.mark_bar(color=colour("blue"), height={"band": 0.65}).encode(x=x, y=y, tooltip=tooltip)
    labels = base.mark_text(align="left", dx=5, fontSize=12, color=colour("ink")).encode(x=x, y=y, text="cost_text:N")
    return finished(bars + labels, height=alt.Step(30), description="Cost of the trainings of each month")


@chart
def elsewhere() -> Any:
    """Cost of all runs together on each offer, next to their cost here."""
    base = alt.Chart(alt.NamedData("offers"))
    y = alt.Y("name:N", sort=None, axis=titled(None, grid=False, labelColor=colour("ink"), labelLimit=150))
    x = alt.X("cost:Q", scale=log_scale(), axis=money_axis("cost, US dollars"))
    role = coloured("role", {"here": HOME, "offer": OFFER})
    known = base.transform_filter("isValid(datum.cost)")
    bars = known.mark_rule(strokeWidth=4, opacity=0.35).encode(x="cost_low:Q", x2="cost_high:Q", y=y, color=role)
    tooltip = words(("name", "Option"), ("time_text", "Time"), ("cost_text", "Cost"), ("co2_text", "CO2e"))
    points = known.mark_point(filled=True, size=90, opacity=1.0).encode(x=x, y=y, color=role, tooltip=tooltip)
    return finished(bars + points, height=alt.Step(26), description="Cost of all trainings on each offer")
