"""RunFacts: everything an estimate needs, as the compact JSON in MLflow's ``greenlove.stats`` tag.

A tag holds 8,000 characters: it has short rows in place of records, and no texts or sources. A sentence is rebuilt from
its code and values, a source from its table and version.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greenlove_mlflow.core.codec import check_bounds, from_plain, to_plain
from greenlove_mlflow.core.interval import Interval, total
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import Machine, PowerReading, StepProfile
from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision, ProbeResult, SpeedRatio
from greenlove_mlflow.core.timing.fit import Fit, OriginalFit
from greenlove_mlflow.core.workload import Grid, Workload
from greenlove_mlflow.errors import GreenloveError, RunDataError

Plain = dict[str, Any]

_POWER_FIELDS = tuple(field.name for field in dataclasses.fields(PowerReading))
_SOURCE_FIELDS = ("producer", "title", "table", "version")
# Fields of home's specs that only board names or the tables themselves need.
_LEFT_OUT_OF_HOME = ("aliases", "alias_is_ambiguous", "source")
SCHEMA_VERSION = "2"
OLD_SCHEMA_VERSION = "1"
_FIT_FIELDS_OF_OLD = {"seed_warm_up_s": "warm_up_s", "seed_sigma_s": "sigma_s"}


def pack(plain: Mapping[str, Any]) -> Plain:
    """The plain facts in their short form."""
    packed = dict(plain)
    used = packed.get("gpu_count", 1)
    packed["ratios"] = [_pack_ratio(each, used) for each in plain.get("ratios", ())]
    packed["power"] = [_pack_row(each, _POWER_FIELDS) for each in plain.get("power", ())]
    packed["caveats"] = [_pack_caveat(each) for each in plain.get("caveats", ())]
    packed["fit"] = {**plain["fit"], "caveats": [_pack_caveat(each) for each in plain["fit"].get("caveats", ())]}
    packed["grid"] = _with_short_sources(plain["grid"])
    if plain.get("home"):
        packed["home"] = {key: value for key, value in plain["home"].items() if key not in _LEFT_OUT_OF_HOME}
    for record in (packed, packed["fit"]):
        for name in ("ratios", "power", "caveats"):
            if name in record and not record[name]:
                del record[name]
    return packed


def unpack(packed: Mapping[str, Any]) -> Plain:
    """The plain facts from their short form.

    Raises:
        AttributeError, KeyError, OverflowError, TypeError, ValueError: If they do not have that form.
    """
    plain = dict(packed)
    plain["ratios"] = [_unpack_ratio(each) for each in packed.get("ratios", ())]
    plain["power"] = [dict(zip(_POWER_FIELDS, each, strict=False)) for each in packed.get("power", ())]
    plain["caveats"] = [_unpack_caveat(each) for each in packed.get("caveats", ())]
    plain["fit"] = {**packed["fit"], "caveats": [_unpack_caveat(each) for each in packed["fit"].get("caveats", ())]}
    return plain


def _pack_ratio(each: Mapping[str, Any], used: int) -> list[Any]:
    """The row of a ratio: GPU, log ratio, its half-width, basis, GPUs in use, GPUs rented."""
    speed = each["speed_ratio"]
    ratio = speed["ratio"]
    low, high = ratio["low"], ratio["high"]
    width = 0.0 if low == high else (math.log(high) - math.log(low)) / 2.0
    return [each["gpu_id"], math.log(ratio["point"]), width, speed["basis"], used, each.get("rented_gpu_count", 0)]


def _unpack_ratio(row: list[Any]) -> Plain:
    gpu_id, log_ratio, width, basis, _, rented = row
    point, factor = math.exp(log_ratio), math.exp(width)
    interval = {"point": point, "low": min(point, point / factor), "high": max(point, point * factor)}
    return {"gpu_id": gpu_id, "speed_ratio": {"ratio": interval, "basis": basis}, "rented_gpu_count": rented}


def _pack_row(record: Mapping[str, Any], fields: tuple[str, ...]) -> list[Any]:
    """The values of a record in the order of its fields, without trailing None values."""
    values = [record.get(name) for name in fields]
    while values and values[-1] is None:
        values.pop()
    return values


def _pack_caveat(each: Mapping[str, Any]) -> list[Any]:
    """The caveat's code and values, and its sentence only if another version of the package wrote it."""
    values = dict(each.get("values", ()))
    return [
        each["code"],
        *([values] if values or each.get("text") else []),
        *([each["text"]] if each.get("text") else []),
    ]


def _unpack_caveat(row: list[Any]) -> Plain:
    missing: list[Any] = [{}, ""]
    code, values, text = [*row, *missing[len(row) - 1 :]]
    return {"code": code, "values": [[name, value] for name, value in values.items()], "text": text}


def _with_short_sources(grid: Mapping[str, Any]) -> Plain:
    short = dict(grid)
    for name in ("intensity_source", "price_source"):
        source = short.get(name)
        if source:
            short[name] = {key: source[key] for key in _SOURCE_FIELDS if key in source}
    return short


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRatio:
    """The speed ratio of one offer's GPU when the run was first estimated.

    Args:
        gpu_id: Key of the specs table.
        speed_ratio: Of all GPUs in use together.
        rented_gpu_count: GPUs of the rented instance; 0 when not stated.
    """

    gpu_id: str
    speed_ratio: SpeedRatio
    rented_gpu_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The facts of one benchmark, sufficient to estimate and compare again without its log.

    Args:
        machine: The machine it ran on.
        workload: The planned run.
        fit: The fit of the log.
        power: One reading per device; empty when nothing is known.
        pue: Power usage effectiveness of the place, at least 1.
        grid: Electricity that it was first priced with.
        precision: Precision of the training's matrix products.
        task: The throughput task the user chose; None for a mean over tasks.
        model_kind: ``convolutional``, ``transformer``, ``recurrent`` or ``other``: which tasks weigh most in the ratio.
        peak_memory_gib: Peak device memory, GiB; None on a CPU.
        fixed_memory_gib: The part of it that does not shrink with the batch (weights, gradients, optimizer state),
            GiB; None when unknown.
        workload_fingerprint: Equal for the same workload on another machine.
        home: The specs of the GPU that ratios start from; None when it is unknown or a CPU.
        probe: Result of the probe that ran because no table has the hardware; else None.
        ratios: The ratio of each offer of the first comparison.
        caveats: Caveats of the place, the power and the benchmark; those of the fit are in the fit.
        prices_version: Version of the first comparison's price sheet.
        throughput_version: Version of the table that its ratios came from.
        cloud_region: Region that offers were priced for; None for the median of the regions that list each.
        instance_start_s: Stated seconds that an instance needs to start; None for the table's.
        gpu_count: GPUs in use in the first comparison; ``ratios`` are for all of them together.
        home_gpu_count: GPUs in use at home, one per rank unless ranks share one.
        profile: Where the time of a step at home goes; None where nothing was measured.
        validation_profile: The same for a validation step; a training step's profile is used when None.
        home_usd_per_hour: Rent of home, in place of its electricity; None when home is not rented.
        one_off_paid: Whether the training process already paid the one-off cost in its benchmark, so that only offers
            pay it again.
    """

    machine: Machine
    workload: Workload
    fit: Fit
    power: tuple[PowerReading, ...]
    pue: Interval
    grid: Grid
    precision: Precision = "fp32"
    task: str | None = None
    model_kind: str = "other"
    peak_memory_gib: float | None = None
    fixed_memory_gib: float | None = None
    workload_fingerprint: str = ""
    home: GpuSpec | None = None
    probe: ProbeResult | None = None
    ratios: tuple[OfferRatio, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    prices_version: str = ""
    throughput_version: str = ""
    cloud_region: str | None = None
    instance_start_s: float | None = None
    gpu_count: int = 1
    home_gpu_count: int = 1
    profile: StepProfile | None = None
    validation_profile: StepProfile | None = None
    home_usd_per_hour: float | None = None
    one_off_paid: bool = False
    schema_version: str = SCHEMA_VERSION

    @property
    def home_fit(self) -> Fit:
        """The fit that predicts home, without one-off costs that its process has already paid."""
        if not self.one_off_paid or isinstance(self.fit, OriginalFit):
            return self.fit
        return dataclasses.replace(self.fit, one_off_s=0.0)

    @property
    def scaled_profile(self) -> StepProfile | None:
        """The profile used to scale the time to offers; None where all of the time scales with the ratio.

        Runs of the first schema did not record the parts of a step, and the original's method scales the whole time.
        """
        return None if self.schema_version == OLD_SCHEMA_VERSION or isinstance(self.fit, OriginalFit) else self.profile

    def to_json(self) -> str:
        """One line of JSON without defaults, in the second schema's short form or as the first schema wrote it."""
        plain = to_plain(self)
        content = {**(pack(plain) if self.schema_version == SCHEMA_VERSION else plain)}
        content = {"schema_version": self.schema_version, **content}
        return json.dumps(content, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunFacts:
        """The facts that ``to_json`` wrote.

        Raises:
            RunDataError: If the text is not such JSON, or has another schema version.
        """
        try:
            content = json.loads(text, object_hook=_as_now)
            # The first schema did not write its version.
            version = content.setdefault("schema_version", OLD_SCHEMA_VERSION)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RunDataError(f"the statistics of a run are not a JSON object: {str(text)[:80]!r}") from error
        if version not in (OLD_SCHEMA_VERSION, SCHEMA_VERSION):
            raise RunDataError(
                f"statistics of schema version {str(version)[:20]!r}; this release reads {OLD_SCHEMA_VERSION!r} and "
                f"{SCHEMA_VERSION!r}"
            )
        try:
            decoded: RunFacts = from_plain(cls, unpack(content) if version == SCHEMA_VERSION else content)
            check_bounds(decoded)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError, GreenloveError) as error:
            raise RunDataError(f"the statistics of a run are broken: {str(error)[:300]}") from error
        return decoded


def _as_now(content: dict[str, Any]) -> dict[str, Any]:
    """A JSON object of any version, in the form of this version.

    Caveats used to store their whole sentence as ``message``, and the original's fit used to be an adaptive fit with
    extra fields.
    """
    if "code" in content and "message" in content:
        content["text"] = content.pop("message")
    if content.get("method") == "seed":
        kept = ("sample_count", "steps_per_epoch", "epoch_s", "spearman_rho", "affine_intercept_s", "affine_slope_s")
        fit = {name: content[name] for name in (*kept, "affine_r2", "caveats") if name in content}
        renamed = {new: content[old] for old, new in _FIT_FIELDS_OF_OLD.items() if old in content}
        return {"method": "original", **fit, **renamed}
    return content


def board_readings(statistics: RunFacts) -> tuple[PowerReading, ...]:
    """The metered readings of the training boards; empty where any of them is modelled."""
    boards = [reading for reading in statistics.power if reading.device.startswith("gpu")]
    return () if any(reading.source == "modelled" for reading in boards) else tuple(boards)


def host_power_w(statistics: RunFacts) -> Interval | None:
    """Mean power of everything but the boards, watts; None when nothing else was read."""
    host = [reading for reading in statistics.power if not reading.device.startswith("gpu")]
    if not host:
        return None
    return total(*(Interval.from_log_width(reading.power_w, reading.log_half_width) for reading in host))


def home_power_w(statistics: RunFacts) -> Interval | None:
    """Mean power of all metered or modelled devices, watts; None when there are none."""
    if not statistics.power:
        return None
    return total(*(Interval.from_log_width(reading.power_w, reading.log_half_width) for reading in statistics.power))


def without_idle(statistics: RunFacts) -> RunFacts | None:
    """The facts with each device's idle power subtracted; None when any device's idle power was not measured.

    The remaining idle power of 0 makes offers count none of theirs either: both sides of a comparison are net.
    """
    readings = []
    for reading in statistics.power:
        if reading.idle_power_w is None or not reading.power_w > reading.idle_power_w:
            return None
        net_w = reading.power_w - reading.idle_power_w
        # The error in watts stays the same, so relative to the smaller figure it is larger.
        width = reading.log_half_width * reading.power_w / net_w
        note = f"{reading.note}, net of {reading.idle_power_w:.0f} W idle".lstrip(", ")
        readings.append(dataclasses.replace(reading, power_w=net_w, log_half_width=width, idle_power_w=0.0, note=note))
    return dataclasses.replace(statistics, power=tuple(readings)) if readings else None
