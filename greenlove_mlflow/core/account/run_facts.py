"""RunFacts: everything an estimate needs, in one compact JSON; what MLflow's ``greenlove.stats`` tag holds."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from greenlove_mlflow.core.account.estimate import Estimate, estimate_co2_g, estimate_cost_usd, estimate_energy_kwh
from greenlove_mlflow.core.account.stored_facts import pack, unpack
from greenlove_mlflow.core.bounds import check_bounds
from greenlove_mlflow.core.codec import from_plain, to_plain
from greenlove_mlflow.core.interval import Interval, total
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.records import Machine, PowerReading, StepProfile
from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision, ProbeResult, SpeedRatio
from greenlove_mlflow.core.timing.fit import Fit, OriginalFit
from greenlove_mlflow.core.workload import Grid, Workload
from greenlove_mlflow.errors import GreenloveError, RunDataError
from greenlove_mlflow.units import S_PER_H

SCHEMA_VERSION = "2"
OLD_SCHEMA_VERSION = "1"


_FIT_FIELDS_OF_OLD = {"seed_warm_up_s": "warm_up_s", "seed_sigma_s": "sigma_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRatio:
    """The speed ratio that one offer's GPU was given when the run was first estimated.

    Args:
        gpu_id: Key of the specs table.
        speed_ratio: Of all GPUs at work together.
        rented_gpu_count: GPUs of the instance that was rented then; 0 when nobody said.
    """

    gpu_id: str
    speed_ratio: SpeedRatio
    rented_gpu_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What one benchmark taught, sufficient to estimate and compare again without its log.

    Args:
        machine: Where it ran.
        workload: What was planned.
        fit: What the log says about time.
        power: One reading per device; empty when nothing is known.
        pue: Power usage effectiveness of the place, at least 1.
        grid: Electricity it was first priced with.
        precision: Of the training's matrix products.
        task: The throughput task the user chose; None for a mean over tasks.
        model_kind: ``convolutional``, ``transformer``, ``recurrent`` or ``other``: which tasks the ratio leans on.
        peak_memory_gib: Most device memory, GiB; None on a CPU.
        fixed_memory_gib: Of that, what no smaller batch saves (weights, gradients, optimizer state), GiB; None when
            unknown.
        workload_fingerprint: Equal for the same workload on another machine.
        home: The specs of the GPU that ratios start from; None when it is unknown or a CPU.
        probe: What the probe measured where no table knows the hardware.
        ratios: The ratio of each offer of the first comparison.
        caveats: Of the place, the power and the benchmark; those of the fit are in the fit.
        prices_version: Of the price sheet of the first comparison.
        throughput_version: Of the table that its ratios came from.
        cloud_region: The region that offers were priced for; None for the median of those that list each.
        gpu_count: GPUs at work in the first comparison, all of which ``ratios`` speak for together.
        home_gpu_count: GPUs at work at home, one per rank.
        profile: Where the time of a step at home goes; None where nothing was measured.
        validation_profile: The same of a step of the validation pass; taken as a training step's when None.
        home_usd_per_hour: Rent of home itself, in place of its electricity; None when home is one's own.
        one_off_paid: Whether the process that trains has paid the one-off cost in its benchmark, so that home does not
            pay it again; an offer does.
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
    gpu_count: int = 1
    home_gpu_count: int = 1
    profile: StepProfile | None = None
    validation_profile: StepProfile | None = None
    home_usd_per_hour: float | None = None
    one_off_paid: bool = False
    schema_version: str = SCHEMA_VERSION

    @property
    def home_fit(self) -> Fit:
        """The fit as home is predicted by it: without what its process has paid already."""
        if not self.one_off_paid or isinstance(self.fit, OriginalFit):
            return self.fit
        return dataclasses.replace(self.fit, one_off_s=0.0)

    @property
    def scaled_profile(self) -> StepProfile | None:
        """The profile that offers are scaled by; None where all of the time follows the ratio.

        Runs of the first schema knew nothing of the parts of a step, and the original's method scales the whole time.
        """
        return None if self.schema_version == OLD_SCHEMA_VERSION or isinstance(self.fit, OriginalFit) else self.profile

    def to_json(self) -> str:
        """One line of JSON, defaults left out; in the short form of the second schema, or as the first schema was."""
        plain = to_plain(self)
        content = {**(pack(plain) if self.schema_version == SCHEMA_VERSION else plain)}
        content = {"schema_version": self.schema_version, **content}
        return json.dumps(content, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunFacts:
        """The statistics that ``to_json`` wrote.

        Raises:
            RunDataError: If the text is no such JSON, or of another schema version.
        """
        try:
            content = json.loads(text, object_hook=_as_now)
            # The first schema left its own version out.
            version = content.setdefault("schema_version", OLD_SCHEMA_VERSION)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RunDataError(f"the statistics of a run are no JSON object: {str(text)[:80]!r}") from error
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
    """A JSON object of any version as this one writes it.

    A caveat once kept its whole sentence as ``message``, and the fit of the original's method was one of ours with
    fields of its own.
    """
    if "code" in content and "message" in content:
        content["text"] = content.pop("message")
    if content.get("method") == "seed":
        kept = ("sample_count", "steps_per_epoch", "epoch_s", "spearman_rho", "affine_intercept_s", "affine_slope_s")
        fit = {name: content[name] for name in (*kept, "affine_r2", "caveats") if name in content}
        renamed = {new: content[old] for old, new in _FIT_FIELDS_OF_OLD.items() if old in content}
        return {"method": "original", **fit, **renamed}
    return content


def estimate_training(
    statistics: RunFacts,
    *,
    workload: Workload | None = None,
    grid: Grid | None = None,
    pue: Interval | None = None,
) -> Estimate:
    """The estimate of the training at home, with the run's own plan, place and PUE unless others are given."""
    workload = workload or statistics.workload
    time_s = statistics.home_fit.predict(workload)
    return estimate_for_time(statistics, time_s, workload=workload, grid=grid, pue=pue)


def estimate_for_time(
    statistics: RunFacts,
    time_s: Interval,
    *,
    workload: Workload | None = None,
    grid: Grid | None = None,
    pue: Interval | None = None,
) -> Estimate:
    """The estimate of a training at home that takes ``time_s`` seconds, however that time is known."""
    grid = grid or statistics.grid
    power_w = home_power_w(statistics)
    energy_kwh = None if power_w is None else estimate_energy_kwh(time_s, power_w, pue or statistics.pue)
    price, intensity = grid.price_usd_per_kwh, grid.intensity_g_per_kwh
    if statistics.home_usd_per_hour is not None:
        cost_usd: Interval | None = time_s.scaled(statistics.home_usd_per_hour / S_PER_H)
    else:
        cost_usd = None if energy_kwh is None or price is None else estimate_cost_usd(energy_kwh, price)
    return Estimate(
        time_s=time_s,
        energy_kwh=energy_kwh,
        cost_usd=cost_usd,
        co2_g=None if energy_kwh is None or intensity is None else estimate_co2_g(energy_kwh, intensity),
        workload=workload or statistics.workload,
        grid=grid,
        caveats=(*statistics.fit.caveats, *statistics.caveats),
        statistics=statistics,
    )


def board_readings(statistics: RunFacts) -> tuple[PowerReading, ...]:
    """The readings of the boards trained on that a meter made; none where a model stands in for one."""
    boards = [reading for reading in statistics.power if reading.device.startswith("gpu")]
    return () if any(reading.source == "modelled" for reading in boards) else tuple(boards)


def host_power_w(statistics: RunFacts) -> Interval | None:
    """Mean power of everything but the boards, in watts; None when there is none."""
    host = [reading for reading in statistics.power if not reading.device.startswith("gpu")]
    if not host:
        return None
    return total(*(Interval.from_log_width(reading.power_w, reading.log_half_width) for reading in host))


def home_power_w(statistics: RunFacts) -> Interval | None:
    """Mean power of all devices that are metered or modelled, in watts; None when there is none."""
    if not statistics.power:
        return None
    return total(*(Interval.from_log_width(reading.power_w, reading.log_half_width) for reading in statistics.power))
