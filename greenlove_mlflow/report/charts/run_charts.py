"""The charts of a run's page and of an experiment's."""

from __future__ import annotations

from typing import Any

import altair as alt

from greenlove_mlflow.report.charts.chart_parts import (
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

ROLES = {"here": HOME, "best trade-off": OFFER, "other offers": "soft"}
CO2_ROLES = {"here": HOME, "by the grid": OFFER, "by the provider's claim": "green"}
PHASES = {
    "first contact": "vermillion",
    "exploration": "orange",
    "warm-up": "vermillion",
    "revisit": "purple",
    "timed": "blue",
    "other sizes": "green",
}
DEVICES = {"gpu": "blue", "cpu": "vermillion", "ram": "green", "other": "purple"}
_OFFER_WORDS = words(
    ("name", "Option"), ("time_text", "Time"), ("cost_text", "Cost"), ("co2_text", "CO2e"), ("basis", "Speed known by")
)
_HISTORY_WORDS = words(("name", "GPU"), ("version", "Price sheet"), ("price_text", "Price"), ("cost_text", "Cost"))
KEPT = {"within its range": "blue", "outside its range": "vermillion"}


@chart
def cost_time() -> Any:
    """Cost against time, both logarithmic, ranges as bars and the Pareto front as steps."""
    x = alt.X("time:Q", scale=log_scale(), axis=titled("@time_title", labelExpr=log_labels("x")))
    y = alt.Y("cost:Q", scale=log_scale(), axis=money_axis("cost, US dollars"))
    base = alt.Chart(alt.NamedData("rows"))
    role = coloured("role", ROLES)
    front = (
        base.transform_filter("datum.on_front")
        .mark_line(interpolate="step-after", strokeDash=[4, 4], strokeWidth=1.5, color=colour("soft"))
        .encode(x=x, y=y, order=alt.Order("time:Q"))
    )
    across = base.mark_rule(strokeWidth=3, opacity=0.35).encode(x="time_low:Q", x2="time_high:Q", y=y, color=role)
    upright = base.mark_rule(strokeWidth=3, opacity=0.35).encode(x=x, y="cost_low:Q", y2="cost_high:Q", color=role)
    shape = alt.Shape("role:N", scale=alt.Scale(domain=list(ROLES), range=["diamond", "circle", "circle"]), legend=None)
    points = base.mark_point(filled=True, size=90, opacity=1.0).encode(
        x=x, y=y, color=role, shape=shape, tooltip=_OFFER_WORDS
    )
    names = (
        base.transform_filter("datum.role != 'other offers'")
        .mark_text(
            align=alt.ExprRef("datum.near_right ? 'right' : 'left'"),
            dx=alt.ExprRef("datum.near_right ? -9 : 9"),
            dy=alt.ExprRef("datum.label_dy"),
            fontSize=12,
            color=colour("ink"),
        )
        .encode(x=x, y=y, text="name:N")
    )
    return finished(
        front + across + upright + points + names, height=380, description="Cost against time of each option"
    )


@chart
def carbon() -> Any:
    """CO2e by the location's grid and by the provider's claim, one line per option."""
    base = alt.Chart(alt.NamedData("rows"))
    y = alt.Y(
        "name:N", sort=alt.SortField("order"), axis=titled(None, grid=False, labelColor=colour("ink"), labelLimit=150)
    )
    x = alt.X("co2:Q", scale=alt.Scale(zero=True, nice=True), axis=titled("@co2_title", tickCount=6))
    role = coloured("co2_role", CO2_ROLES, seen="roles_seen")
    known = base.transform_filter("isValid(datum.co2)")
    bars = known.mark_rule(strokeWidth=4, opacity=0.35).encode(x="co2_low:Q", x2="co2_high:Q", y=y, color=role)
    points = known.mark_point(filled=True, size=90, opacity=1.0).encode(x=x, y=y, color=role, tooltip=_OFFER_WORDS)
    claims = (
        base.transform_filter("isValid(datum.co2_claim)")
        .transform_calculate(co2_role='"by the provider\'s claim"')
        .mark_point(shape="diamond", size=80, strokeWidth=2, filled=False, opacity=1.0)
        .encode(x="co2_claim:Q", y=y, color=role, tooltip=words(("name", "Option"), ("claim_text", "By claim")))
    )
    unknown = (
        base.transform_filter("!isValid(datum.co2)")
        .mark_text(align="left", dx=4, fontStyle="italic", fontSize=12, color=colour("soft"))
        .encode(x=alt.datum(0), y=y, text="co2_text:N")
    )
    return finished(bars + points + claims + unknown, height=alt.Step(26), description="CO2e of each option")


@chart
def scaling() -> Any:
    """Seconds of each pass against its samples, with the fit and its band."""
    x = alt.X("samples:Q", scale=log_scale(), axis=titled("samples in the pass", labelExpr=log_labels("x")))
    y = alt.Y("seconds:Q", scale=log_scale(), axis=titled("seconds", labelExpr=log_labels("y")))
    fit = alt.Chart(alt.NamedData("fit"))
    band = fit.mark_area(opacity=0.18, color=colour("soft")).encode(x="samples:Q", y="low:Q", y2="high:Q")
    line = fit.mark_line(strokeWidth=1.5, color=colour("soft")).encode(x="samples:Q", y="seconds:Q")
    passes = alt.Chart(alt.NamedData("passes"))
    tooltip = words(("phase", "Phase"), ("samples_text", "Samples"), ("seconds_text", "Took"), ("whole_text", "Pass"))
    hollow = _points(passes.transform_filter("datum.hollow"), hollow=True).encode(x=x, y=y, tooltip=tooltip)
    solid = _points(passes.transform_filter("!datum.hollow"), hollow=False).encode(x=x, y=y, tooltip=tooltip)
    return finished(band + line + hollow + solid, height=300, description="Seconds of a pass against its samples")


@chart
def residuals() -> Any:
    """Residual of each block of steps from the fit, in per cent, over the time of the benchmark."""
    left = alt.Chart(alt.NamedData("residuals"))
    x = alt.X("at_s:Q", axis=titled("seconds since the benchmark began", grid=False, tickCount=8))
    y = alt.Y("residual:Q", axis=titled("per cent above the fit", tickCount=6))
    zero = alt.Chart(alt.NamedData("zero")).mark_rule(color=colour("soft")).encode(y="residual:Q")
    tooltip = words(("phase", "Phase"), ("samples_text", "Over"), ("residual_text", "Against the fit"))
    points = _points(left, hollow=False).encode(x=x, y=y, tooltip=tooltip)
    return finished(zero + points, height=220, description="Distance of each block of steps from the fit")


@chart
def power() -> Any:
    """Power of each device during the benchmark, with the mean used and its range."""
    samples, means = alt.Chart(alt.NamedData("samples")), alt.Chart(alt.NamedData("means"))
    kind = coloured("kind", DEVICES, seen="devices_seen")
    y = alt.Y("watts:Q", scale=alt.Scale(zero=True), axis=titled("watts", tickCount=6))
    band = means.mark_area(opacity=0.15).encode(x="at_s:Q", y="low:Q", y2="high:Q", color=kind, detail="device:N")
    mean = means.mark_line(strokeDash=[6, 4], strokeWidth=2).encode(
        x="at_s:Q", y=y, color=kind, detail="device:N",
        tooltip=words(
            ("device", "Device"), ("mean_text", "Mean used"), ("source", "Known by"), ("energy_text", "Energy")
        ),
    )  # fmt: skip
    line = samples.mark_line(strokeWidth=1.5).encode(
        x=alt.X("at_s:Q", axis=titled("seconds since the benchmark began", grid=False, tickCount=8)),
        y=y,
        color=kind,
        detail="device:N",
    )
    return finished(band + line + mean, height=240, description="Power over time")


@chart
def forecast() -> Any:
    """The forecast of the whole training after each epoch, with the estimate and the outcome."""
    made = alt.Chart(alt.NamedData("forecasts"))
    x = alt.X("epoch:Q", axis=titled("epochs done", grid=False, format="~r", tickMinStep=1, tickCount=10))
    y = alt.Y("point:Q", scale=alt.Scale(zero=False, padding=10), axis=titled("@time_title", tickCount=6))
    role = coloured("role", {"estimated": "vermillion", "forecast": "blue", "happened": "ink"})
    promise = alt.Chart(alt.NamedData("promise"))
    promised = promise.mark_area(opacity=0.15).encode(x=x, y="low:Q", y2="high:Q", color=role)
    point = promise.mark_line(strokeDash=[6, 4], strokeWidth=1.5).encode(x=x, y=y, color=role)
    band = made.mark_area(opacity=0.25).encode(x=x, y="low:Q", y2="high:Q", color=role)
    line = made.mark_line(strokeWidth=2, point={"size": 24, "filled": True}).encode(
        x=x, y=y, color=role, tooltip=words(("epoch", "Epochs done"), ("text", "Forecast"))
    )
    truth = (
        alt.Chart(alt.NamedData("truth"))
        .mark_rule(strokeWidth=2)
        .encode(y="point:Q", color=role, tooltip=words(("text", "Happened")))
    )
    return finished(
        promised + band + point + line + truth, height=260, description="Forecast of the whole training by epoch"
    )


@chart
def price_history() -> Any:
    """Cost of the training on each GPU by past price sheets."""
    base = alt.Chart(alt.NamedData("history"))
    x = alt.X("as_of:T", axis=titled("date of the price sheet", grid=False, tickCount=6))
    y = alt.Y("cost:Q", scale=log_scale(), axis=money_axis("cost, US dollars"))
    offers = base.transform_filter("datum.role == 'offer'")
    line, points = _lines_by_name(offers, x, y, _HISTORY_WORDS)
    home = base.transform_filter("datum.role == 'here'")
    here = home.mark_line(interpolate="step-after", strokeWidth=2, strokeDash=[6, 4], color=colour(HOME)).encode(
        x=x, y=y
    )
    mark = home.mark_point(shape="diamond", filled=True, size=70, opacity=1.0, color=colour(HOME))
    name = home.transform_filter("datum.is_last").mark_text(align="right", dy=-10, fontSize=12, color=colour(HOME))
    return finished(
        line
        + points
        + here
        + mark.encode(x=x, y=y, tooltip=_HISTORY_WORDS)
        + name.encode(x=x, y=y, text=alt.value("here")),
        height=300,
        description="Cost by the price sheets of the past",
    )


@chart
def passes_by_size() -> Any:
    """Seconds of each pass in the order they ran, one line per number of samples."""
    base = alt.Chart(alt.NamedData("passes"))
    x = alt.X("pass:Q", axis=titled("pass over that many samples", grid=False, format="~r", tickMinStep=1))
    y = alt.Y("seconds:Q", scale=log_scale(), axis=titled("seconds", labelExpr=log_labels("y")))
    tooltip = words(("name", "Samples"), ("seconds_text", "Took"), ("phase", "Phase"))
    line, points = _lines_by_name(base, x, y, tooltip, interpolate="linear")
    return finished(line + points, height=280, description="Seconds of each pass by its number of samples")


def _lines_by_name(base: Any, x: Any, y: Any, tooltip: list[Any], interpolate: str = "step-after") -> tuple[Any, Any]:
    """A line and points per name, which differ in colour and shape."""
    legend = alt.Legend(orient="top", title=None, columns=3, labelColor=colour("ink"), labelLimit=160)
    # Five colours that are distinct for colour-blind readers, with five shapes, give 25 combinations.
    hues = alt.Scale(range=[colour(name) for name in ("blue", "green", "purple", "orange", "sky")])
    shapes = alt.Scale(range=["circle", "square", "triangle-up", "cross", "triangle-down", "triangle-right"])
    # The line is coloured by another channel than the points, so that the points' colour and shape share one legend.
    stroke = alt.Stroke("name:N", scale=hues, sort=None, legend=None)
    line = base.mark_line(interpolate=interpolate, strokeWidth=2).encode(x=x, y=y, stroke=stroke)
    points = base.mark_point(filled=True, size=60, opacity=1.0).encode(
        x=x,
        y=y,
        color=alt.Color("name:N", scale=hues, sort=None, legend=legend),
        shape=alt.Shape("name:N", scale=shapes, sort=None, legend=legend),
        tooltip=tooltip,
    )
    return line, points


def _points(base: Any, *, hollow: bool) -> Any:
    return base.mark_point(filled=not hollow, size=70, opacity=1.0, strokeWidth=1.6).encode(
        color=coloured("phase", PHASES, seen="phases_seen")
    )


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
        "cost:Q",
        scale=alt.Scale(zero=True),
        axis=titled("cost of electricity, US dollars", tickCount=2, format="$,.3~f"),
    )
    tooltip = words(
        ("month", "Month"), ("runs", "Trainings"), ("time_text", "Time"), ("energy_text", "Energy"),
        ("cost_text", "Cost"), ("co2_text", "CO2e"),
    )  # fmt: skip
    bars = base.mark_bar(color=colour(HOME), height={"band": 0.65}).encode(x=x, y=y, tooltip=tooltip)
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
