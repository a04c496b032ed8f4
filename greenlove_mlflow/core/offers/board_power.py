"""The power of a rented instance while it trains: boards in use, idle boards, and the host.

A board draws its idle power and, while busy, a share of the range between idle and TDP. That share is metered at home;
how much of the time the board is busy follows from the step on the offer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from greenlove_mlflow.core.account.run_facts import RunFacts, board_readings, host_power_w
from greenlove_mlflow.core.energy.power import ASSUMED_UTILIZATION, MODELLED_POWER_LOG_SD
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, FloatArray, Interval, Intervals, product, total
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.speed.gpus import GpuSpec

# Transferred from a metered board, another board's power is known to 25% (log SD); two boards of one model agree to
# 8%.
CARRIED_POWER_LOG_SD = 0.25
SAME_BOARD_LOG_SD = 0.04
# Another machine's CPU and memory, assumed to draw what home's do.
HOST_POWER_LOG_SD = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPowers:
    """Watts of each GPU for each run, as arrays of runs x GPUs.

    Args:
        work_w: Mean power of one training board, including its waits for the host; NaN without a TDP.
        idle_w: Power of a board that is rented but unused.
        host_w: Power of CPU and memory, one per run; 0 where home's were not counted either.
        is_metered: 1 where the same board was metered at home.
    """

    work_w: Intervals
    idle_w: FloatArray
    host_w: Intervals
    is_metered: FloatArray


def typical_idle_share(specs: Iterable[GpuSpec]) -> float:
    """Idle power over TDP: the median of the published boards that state both; NaN where none does.

    >>> typical_idle_share([GpuSpec(gpu_id=str(w), name="", tdp_w=100.0, idle_w=w) for w in (10.0, 15.0, 30.0)])
    0.15
    """
    known = [each.idle_w / each.tdp_w for each in specs if each.idle_w and each.tdp_w and not each.is_own]
    return median(known) if known else math.nan


def board_powers(
    facts: Sequence[RunFacts],
    specs: Sequence[GpuSpec | None],
    busy_ratio: FloatArray,
    busy_share: FloatArray,
    *,
    idle_share: float,
) -> BoardPowers:
    """The power of each GPU for each run.

    Args:
        facts: The facts of each run.
        specs: The specs of each GPU; None where it is in no table.
        busy_ratio: Busy share of the board on the offer over that at home, runs x GPUs.
        busy_share: Busy share of the board on the offer, 0 to 1, runs x GPUs.
        idle_share: Idle power over TDP of a board whose idle power nobody stated; NaN when unknown.
    """
    tdp_w, known_idle_w = _column(specs, "tdp_w"), _column(specs, "idle_w")
    homes = [_home_board(each, idle_share) for each in facts]
    rows = np.array([each.numbers for each in homes], dtype=np.float64).reshape(-1, 4)
    carried, home_idle_w, counts_idle, width = (rows[:, column : column + 1] for column in range(4))
    columns = {spec.gpu_id: column for column, spec in enumerate(specs) if spec is not None}
    home_ids = [None if each.home is None else each.home.gpu_id for each in facts]
    own = [(run, columns[gpu_id]) for run, gpu_id in enumerate(home_ids) if gpu_id in columns]
    idle_w = np.where(np.isnan(known_idle_w), idle_share * tdp_w, known_idle_w)
    idle_w = np.where(counts_idle > 0.0, idle_w, 0.0)
    for run, column in own:
        idle_w[run, column] = home_idle_w[run, 0]
    modelled_w = idle_w + busy_share * np.maximum(0.0, ASSUMED_UTILIZATION * tdp_w - idle_w)
    carried_w = np.minimum(tdp_w, idle_w + carried * busy_ratio * (tdp_w - idle_w))
    work_w = np.where(np.isnan(carried), modelled_w, carried_w)
    width, is_metered = np.broadcast_to(width, work_w.shape).copy(), np.zeros(work_w.shape)
    for run, column in own:
        drawn_w = homes[run].drawn_w
        if drawn_w is not None and busy_ratio[run, column] == 1.0:
            work_w[run, column], is_metered[run, column] = drawn_w.point, 1.0
            width[run, column] = math.hypot(drawn_w.log_half_width, NORMAL_QUANTILE_95 * SAME_BOARD_LOG_SD)
    return BoardPowers(
        work_w=Intervals.symmetric(work_w, np.where(np.isnan(work_w), np.nan, width)),
        idle_w=np.nan_to_num(idle_w),
        host_w=Intervals.of([_host_w(each) for each in facts]),
        is_metered=is_metered,
    )


def instance_power_w(
    work_w: Intervals, idle_w: FloatArray, host_w: Intervals, *, used: FloatArray, rented: FloatArray
) -> Intervals:
    """Mean power of a whole instance in watts: boards in use, idle boards and host; NaN where unknown.

    The boards in use share one error, so only host and boards add in quadrature.

    Args:
        work_w: Mean power of one board in use, watts.
        idle_w: Power of one idle board, watts.
        host_w: Power of CPU and memory, watts.
        used: Boards in use.
        rented: Boards of the instance.
    """
    working = used * work_w.point
    whole = working + (rented - used) * idle_w + host_w.point

    def width(working_width: FloatArray, host_width: FloatArray) -> FloatArray:
        spread = np.hypot(working * np.expm1(working_width), host_w.point * np.expm1(host_width))
        return np.log1p(spread / whole)

    with np.errstate(invalid="ignore", divide="ignore"):
        alone = (rented == used) & (host_w.point == 0.0)
        below = np.where(alone, work_w.below, width(work_w.below, host_w.below))
        above = np.where(alone, work_w.above, width(work_w.above, host_w.above))
    return Intervals(point=whole, below=below, above=above)


def metered_board_w(facts: RunFacts | None) -> Interval | None:
    """Mean metered power of one of home's boards, watts; None when they were not metered."""
    boards = () if facts is None else board_readings(facts)
    if not boards:
        return None
    drawn = total(*(Interval.from_log_width(each.power_w, each.log_half_width) for each in boards))
    return drawn.scaled(1.0 / len(boards))


def _modelled_board_w(facts: RunFacts) -> Interval | None:
    """Modelled power of one of home's boards, which are alike, watts; None without a model."""
    modelled = [each for each in facts.power if each.device.startswith("gpu") and each.source == "modelled"]
    return Interval.from_log_width(modelled[0].power_w, modelled[0].log_half_width) if modelled else None


def power_caveat(facts: RunFacts | None, spec: GpuSpec, *, is_metered: bool) -> Caveat | None:
    """The caveat on how the power of an offer's board was assumed; None where the same board was metered."""
    if spec.tdp_w is None:
        return Caveat.of("offer-power-unknown", gpu=spec.name)
    if is_metered:
        return None
    if facts is not None and facts.home is not None and metered_board_w(facts) is not None:
        how = f"the share of what lies above idle that {facts.home.name} drew here,"
    else:
        how = f"{ASSUMED_UTILIZATION:.0%}, as no board was metered here,"
    return Caveat.of("offer-power-modelled", gpu=spec.name, how=how, tdp_w=spec.tdp_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class _HomeBoard:
    """What home's board says about others.

    Args:
        drawn_w: Its metered power.
        numbers: Its power above idle as a share of the range from idle to TDP (NaN when not metered), its idle power,
            whether idle power counts, and the width of the transfer to other boards.
    """

    drawn_w: Interval | None
    numbers: tuple[float, float, float, float]


def _home_board(facts: RunFacts, idle_share: float) -> _HomeBoard:
    drawn_w, home = metered_board_w(facts), facts.home
    # A run that counts only power above idle has no idle power in its readings, so offers have none either.
    counts_idle = not facts.power or any(reading.idle_power_w != 0.0 for reading in facts.power)
    tdp_w = home.tdp_w if home is not None and home.tdp_w else math.nan
    # A board modelled at home is modelled the same way as an offer: compared with itself, it draws the same.
    taken_w = _modelled_board_w(facts) if drawn_w is None else drawn_w
    idle_w = _home_idle_w(facts, taken_w, idle_share) if counts_idle else 0.0
    carried, width = math.nan, MODELLED_POWER_LOG_SD * NORMAL_QUANTILE_95
    if taken_w is not None and tdp_w > idle_w:
        carried = max(0.0, taken_w.point - idle_w) / (tdp_w - idle_w)
    if drawn_w is not None and tdp_w > idle_w:
        width = math.hypot(drawn_w.log_half_width, NORMAL_QUANTILE_95 * CARRIED_POWER_LOG_SD)
    return _HomeBoard(drawn_w=drawn_w, numbers=(carried, idle_w, float(counts_idle), width))


def _home_idle_w(facts: RunFacts, taken_w: Interval | None, idle_share: float) -> float:
    """Idle power of one of home's boards, watts: of the table, else measured, else assumed, at most what it drew."""
    home = facts.home
    if home is not None and home.idle_w is not None:
        return home.idle_w
    known = [each.idle_power_w for each in board_readings(facts) if each.idle_power_w is not None]
    assumed_w = idle_share * home.tdp_w if home is not None and home.tdp_w else 0.0
    return min(known, default=assumed_w if taken_w is None else min(assumed_w, taken_w.point))


def _host_w(facts: RunFacts) -> Interval:
    host_w = host_power_w(facts)
    if host_w is None:
        return Interval.exactly(0.0)
    return product(host_w, Interval.from_log_width(1.0, NORMAL_QUANTILE_95 * HOST_POWER_LOG_SD))


def _column(specs: Sequence[GpuSpec | None], name: str) -> FloatArray:
    values = [None if spec is None else getattr(spec, name) for spec in specs]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
