"""The power of the CPU threads that a process may use, from the chip's own figures or else from its family.

Clouds rent out threads, not sockets, so a process is charged its share of the socket's threads. Where no source states
how many threads a server chip has, the watts per thread of its generation are used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.energy.power import MODELLED_POWER_LOG_SD
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval, quadrature
from greenlove_mlflow.core.provenance import Caveat, Source

# Intel's 12th generation and later draw up to 3.4 times their base power for as long as the board allows.
BASE_POWER_LOG_SD = 0.35
# Clouds rent out slices of large chips only: EPYC and Xeon with 16 cores or more.
LARGE_THREADS = 32
# A family of fewer chips is less informative than the next wider one.
MIN_FAMILY = 4
ANY_SERVER = "any server"

_GENERATION_OF_EPYC = {"1": "Naples", "2": "Rome", "3": "Milan", "4": "Genoa", "5": "Turin"}
_GENERATION_OF_XEON = {
    "1": "Skylake",
    "2": "Cascade Lake",
    "3": "Ice Lake",
    "4": "Sapphire Rapids",
    "5": "Emerald Rapids",
}
# Hypervisors name the generation itself: "AMD EPYC-Milan Processor", "Intel Xeon Processor (Icelake)".
_NAMED_EPYC = re.compile(r"\b(" + "|".join(_GENERATION_OF_EPYC.values()).lower() + r")\b")
_NAMED_XEON = re.compile(r"\b(skylake|cascade ?lake|ice ?lake|sapphire ?rapids|emerald ?rapids)\b")
_ARM = re.compile(r"\b(neoverse|graviton\d?|altra|grace|axion|cobalt|ampere|armv8|armv9|kunpeng)\b")
_BASE_POWER = re.compile(r"\bintel core (ultra|i[3579] ?-? ?1[2-4]\d{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuModel:
    """One CPU's published figures; None where no source states one.

    Args:
        name: Name in the table.
        tdp_w: Design power of the socket, in watts.
        turbo_w: Power that the maker allows under load, in watts.
        thread_count: Threads of the socket.
        source: Where the row comes from.
    """

    name: str
    tdp_w: float
    turbo_w: float | None = None
    thread_count: int | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPower:
    """The power of the CPU threads a process may use.

    Args:
        interval_w: Watts under full load.
        note: Its origin as text ("TDP 280 W, AMD EPYC 7R32, 16 of 96 threads").
        caveat: The caveat of a substitute figure; None when the CPU is in the table.
    """

    interval_w: Interval
    note: str
    caveat: Caveat | None = None
    source: Source | None = None


def cpu_power(
    cpu_name: str | None, visible_cpu_count: int, models: Iterable[CpuModel], *, system_cpu_count: int | None = None
) -> CpuPower:
    """The full-load power of the CPU threads that this process may use, in watts.

    Args:
        cpu_name: As the system names it ("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz"); None when unknown.
        visible_cpu_count: Threads this process may use, at least 1.
        models: The known CPUs.
        system_cpu_count: Threads of the whole system; assumed to be the chip's for chips not rented out in slices.
    """
    known = tuple(models)
    found = _find(cpu_name, known) if cpu_name else None
    family = cpu_family(cpu_name or "")
    if found is None:
        return _by_family(cpu_name, family, visible_cpu_count, known, None)
    threads = found.thread_count or threads_in_name(cpu_name or "")
    if threads is None and family is not None:
        return _by_family(cpu_name, family, visible_cpu_count, known, found)
    return _by_share(found, threads or max(visible_cpu_count, system_cpu_count or 0), visible_cpu_count)


def cpu_family(name: str) -> str | None:
    """The server chip generation that a name belongs to; None for other chips.

    >>> cpu_family("AMD EPYC 7B13"), cpu_family("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz")
    ('EPYC Milan', 'Xeon Sapphire Rapids')
    >>> cpu_family("Neoverse-N1"), cpu_family("Intel(R) Xeon(R) CPU @ 2.20GHz")
    ('ARM server', 'Xeon')
    >>> cpu_family("AMD EPYC-Milan Processor"), cpu_family("Intel Xeon Processor (SapphireRapids)")
    ('EPYC Milan', 'Xeon Sapphire Rapids')
    """
    plain = plain_cpu(name)
    if _ARM.search(plain):
        return "ARM server"
    if "epyc" in plain:
        return _epyc_family(plain)
    return _xeon_family(plain) if "xeon" in plain else None


def _epyc_family(plain: str) -> str:
    named = _NAMED_EPYC.search(plain)
    if named:
        return f"EPYC {named.group(1).capitalize()}"
    coded = re.search(r"\bepyc (?:embedded )?\d\w\w?(\d)[a-z]*\b", plain)
    return f"EPYC {_GENERATION_OF_EPYC.get(coded.group(1), '')}".strip() if coded else "EPYC"


def _xeon_family(plain: str) -> str:
    older = re.search(r"\bxeon e[357] ?- ?\d+\w*(?: ?(v\d))?", plain)
    if older:
        return f"Xeon E5 {older.group(1) or 'v1'}"
    scalable = re.search(r"\bxeon (?:scalable )?(?:platinum|gold|silver|bronze) \d(\d)\d\d\w*", plain)
    if scalable:
        return f"Xeon {_GENERATION_OF_XEON.get(scalable.group(1), '')}".strip()
    named = _NAMED_XEON.search(plain)
    if named:
        joined = named.group(1).replace(" ", "")
        return next(f"Xeon {each}" for each in _GENERATION_OF_XEON.values() if each.lower().replace(" ", "") == joined)
    return "Xeon 6" if re.search(r"\bxeon 6\d{3}[pe]", plain) else "Xeon"


def threads_in_name(cpu_name: str) -> int | None:
    """The threads of a CPU whose name states its cores ("64-Core", "96-Cores"), two per core; else None."""
    stated = re.search(r"\b(\d+)-cores?\b", cpu_name.lower())
    return 2 * int(stated.group(1)) if stated else None


def plain_cpu(name: str) -> str:
    """A CPU's name without trademark signs, clock, core count and filler words.

    >>> plain_cpu("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz")
    'intel xeon platinum 8380'
    >>> plain_cpu("AMD Ryzen Threadripper PRO 7995WX 96-Cores")
    'amd ryzen threadripper pro 7995wx'
    """
    name = re.sub(r"\((r|tm|c)\)|[®™]", " ", name.lower())
    name = re.sub(r"\s@.*|\bwith radeon.*|\bw/ radeon.*", " ", name)
    cores = r"\b(\d+|dual|quad|six|eight|twelve|sixteen)-cores?\b"
    name = re.sub(cores + r"|\b(cpu|processor|\d+th gen)\b", " ", name)
    return " ".join(name.split())


def _find(cpu_name: str, models: Sequence[CpuModel]) -> CpuModel | None:
    """The CPU with that plain name, the most powerful if several share it; None when there is none."""
    plain = plain_cpu(cpu_name)
    words = plain.split()
    found = [
        model
        for model in models
        # Most rows lack one of the words and can be skipped unparsed.
        if all(word in model.name.lower() for word in words) and plain_cpu(model.name) == plain
    ]
    return max(found, key=lambda model: model.tdp_w, default=None)


def _by_share(model: CpuModel, thread_count: int, visible_cpu_count: int) -> CpuPower:
    """The chip's own power times the share of its threads; two sockets if more are visible than one has."""
    share = visible_cpu_count / thread_count
    part = "" if share == 1.0 else f", {visible_cpu_count} of {thread_count} threads"
    width = NORMAL_QUANTILE_95 * MODELLED_POWER_LOG_SD
    point, said = model.tdp_w, f"TDP {model.tdp_w:g} W"
    if model.turbo_w and model.turbo_w > model.tdp_w:
        point = math.sqrt(model.tdp_w * model.turbo_w)
        width = quadrature(width, math.log(model.turbo_w / model.tdp_w) / 2.0)
        said = f"base {model.tdp_w:g} W, turbo {model.turbo_w:g} W"
    elif _BASE_POWER.search(plain_cpu(model.name)) and model.turbo_w is None:
        width = quadrature(width, NORMAL_QUANTILE_95 * BASE_POWER_LOG_SD)
        said = f"base {model.tdp_w:g} W (turbo unknown)"
    return CpuPower(
        interval_w=Interval.from_log_width(point * share, width),
        note=f"{said}, {model.name}{part}",
        source=model.source,
    )


def _by_family(
    cpu_name: str | None,
    family: str | None,
    visible_cpu_count: int,
    models: Sequence[CpuModel],
    found: CpuModel | None,
) -> CpuPower:
    """Watts per thread of similar chips times the visible threads, never more than the socket's own figure."""
    others = [model for model in models if found is None or model.name != found.name]
    name, logs = _watts_per_thread(family, visible_cpu_count, others)
    mean, spread = _mean_and_sd(logs)
    width = NORMAL_QUANTILE_95 * math.hypot(MODELLED_POWER_LOG_SD, spread * math.sqrt(1.0 + 1.0 / len(logs)))
    interval = Interval.from_log_width(math.exp(mean) * visible_cpu_count, width)
    if found is not None:
        interval = _at_most(interval, found.tdp_w)
    each = f"{math.exp(mean):.1f} W a thread, {name} ({len(logs)} chips)"
    said = f"the CPU {cpu_name!r}" if cpu_name else "a CPU without a name"
    reason = f"no table says how many threads {cpu_name} has" if found else f"no table has {said}"
    values: dict[str, str | float] = {"why": reason, "each": each, "count": visible_cpu_count}
    return CpuPower(
        interval_w=interval,
        note=f"{each}, times {visible_cpu_count} threads",
        caveat=Caveat.of("cpu-power-of-family", **values) if family else Caveat.of("cpu-power-unknown", **values),
        source=(found or models[0]).source,
    )


def _watts_per_thread(
    family: str | None, visible_cpu_count: int, models: Sequence[CpuModel]
) -> tuple[str, list[float]]:
    """The name of the narrowest family that has enough chips, and the logs of their watts per thread.

    Chips with fewer threads than are visible cannot be this one, and small chips are seldom rented out.
    """
    known = [model for model in models if model.thread_count is not None]
    wider = (family, family.split()[0], ANY_SERVER) if family else (ANY_SERVER, "any CPU")
    for name in wider:
        chips = [model for model in known if _is_of(model, name)]
        large = [model for model in chips if (model.thread_count or 0) >= max(visible_cpu_count, LARGE_THREADS)]
        for candidates in (large, chips):
            if len(candidates) >= MIN_FAMILY:
                return f"the mean of {name} chips", [_log_w_per_thread(model) for model in candidates]
    return "the mean of all chips", [_log_w_per_thread(model) for model in known]


def _is_of(model: CpuModel, family: str) -> bool:
    own = cpu_family(model.name)
    if family in (ANY_SERVER, "any CPU"):
        return own is not None or family == "any CPU"
    return own is not None and (own == family or own.split()[0] == family)


def _log_w_per_thread(model: CpuModel) -> float:
    return math.log(model.tdp_w / (model.thread_count or 1))


def _mean_and_sd(logs: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(logs) / len(logs)
    return mean, math.sqrt(math.fsum((each - mean) ** 2 for each in logs) / max(1, len(logs) - 1))


def _at_most(interval: Interval, most: float) -> Interval:
    """The interval capped at ``most``."""
    return Interval(
        point=min(interval.point, most),
        low=min(interval.low, most),
        high=min(interval.high, most),
        level=interval.level,
    )
