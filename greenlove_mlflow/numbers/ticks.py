"""Numbers for the axes of charts: few, round and short."""

from __future__ import annotations

import math

from greenlove_mlflow.numbers.quantities import LEAST_USD

# More labels than this overprint each other on a narrow axis.
MOST_MONEY_TICKS = 3
_SI = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
# Leading digits of the ticks in a decade, the densest first.
_LEADS = ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from ``low`` to ``high`` for a logarithmic axis, as dense as ``most`` of them allow.

    >>> round_ticks(0.4, 12.0, 4)
    [1.0, 3.0, 10.0]
    """
    if not 0.0 < low <= high:
        return []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for leads in _LEADS:
        ticks = [float(f"{lead}e{decade}") for decade in decades for lead in leads]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def money_ticks(low: float, high: float) -> list[float]:
    """At most three round amounts from ``low`` to ``high``, none below one cent.

    >>> money_ticks(0.004, 40.0)
    [0.01, 1.0]
    """
    return round_ticks(max(low, LEAST_USD), high, MOST_MONEY_TICKS)


def tick_label(value: float, prefix: str = "") -> str:
    """A tick as short text, with an SI prefix from a thousand on.

    >>> tick_label(0.05, "$"), tick_label(20.0), tick_label(2000.0, "$")
    ('$0.05', '20', '$2k')
    """
    for factor, unit in _SI:
        if value >= factor:
            return f"{prefix}{value / factor:g}{unit}"
    decimals = 0 if value >= 1.0 or value <= 0.0 else max(0, -math.floor(math.log10(value) + 1e-9))
    return f"{prefix}{value:.{decimals}f}" if value < 1.0 else f"{prefix}{value:g}"
