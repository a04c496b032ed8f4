"""From an estimate to a comparison: the home GPU, the speed ratio of each offer, and ratios from MLflow."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.account.run_facts import OfferRatio, RunFacts
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.compare import Comparison, ComparisonRow, compare_offers
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING, Offer, PriceSheet, Rental
from greenlove_mlflow.core.offers.regions import Regions
from greenlove_mlflow.core.provenance import Caveat
from greenlove_mlflow.core.speed.gpu_names import find_gpu, name_caveats
from greenlove_mlflow.core.speed.gpus import GpuSpec, Precision, ProbeResult, Probes, SpeedRatio
from greenlove_mlflow.core.speed.ratio import speed_ratio, task_names
from greenlove_mlflow.core.speed.several_gpus import known_gpu_counts
from greenlove_mlflow.core.speed.specs import is_counted
from greenlove_mlflow.errors import GreenloveError, InvalidInputError
from greenlove_mlflow.numbers.durations import spoken_point
from greenlove_mlflow.pipeline import checks
from greenlove_mlflow.pipeline.measured_ratios import own_ratios
from greenlove_mlflow.tables import (
    read_default_pue,
    read_gpu_specs,
    read_instance_start,
    read_price_sheet,
    read_regions,
    table_versions,
)
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence
from greenlove_mlflow.tables.store.store import stale_caveats
from greenlove_mlflow.terminal import say_on_stderr

if TYPE_CHECKING:
    from greenlove_mlflow.pipeline.live.running_estimate import Estimated
    from greenlove_mlflow.pipeline.options import Options

logger = logging.getLogger(__name__)

# The tables behind a comparison, besides the price sheet, which has its own caveat about age.
COMPARED_BY = ("gpu_specs", "gpu_throughput", "mlperf", "carbon_intensity", "electricity_prices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The hardware that ratios are relative to; none if the operations of a step were counted on a CPU."""

    hardware: GpuSpec | ProbeResult | None
    name: str
    caveats: tuple[Caveat, ...] = ()


def compare_estimate(
    estimate: Estimate,
    *,
    gpu: str | None,
    prices: str | Path | PriceSheet,
    region: str | None,
    task: str | None,
    precision: Precision | None,
    speed_ratios: Mapping[str, float],
    measured: str | None,
    billing: tuple[str, ...],
    gpus: int | None,
    start_s: float | None,
) -> Comparison:
    """The comparison that ``greenlove.compare`` returns; see there for the arguments."""
    statistics = estimate.statistics
    if statistics is None:
        raise InvalidInputError("only the estimate of a measured training can be compared, not that of an offer")
    billing, speed_ratios = checks.texts("billing", billing), checks.ratios("speed_ratios", speed_ratios)
    if precision is not None:
        checks.choice("precision", precision, get_args(Precision))
    sheet = check_offers(prices, billing=billing, speed_ratios=speed_ratios, gpus=gpus)
    specs = {spec.gpu_id: spec for spec in read_gpu_specs()}
    offer_names = {offer.gpu: offer.gpu_id for offer in sheet.offers}
    home = find_home(statistics, gpu, offer_names)
    given = {
        find_gpu(name, specs.values(), offer_names=offer_names).gpu_id: ratio for name, ratio in speed_ratios.items()
    }
    if isinstance(home.hardware, GpuSpec) and statistics.profile is not None and statistics.profile.on_cpu:
        # A step on a CPU says nothing about the parts of a step on the named GPU.
        statistics = dataclasses.replace(statistics, profile=None, validation_profile=None)
        estimate = dataclasses.replace(estimate, statistics=statistics)
    used = statistics.home_gpu_count if gpus is None else checks.whole("gpus", gpus)
    asked = dataclasses.replace(
        statistics, precision=precision or statistics.precision, task=task or statistics.task, gpu_count=used
    )
    question = _Question(
        estimate=estimate,
        asked=asked,
        home=home,
        sheet=sheet,
        specs=specs,
        given=given,
        own={} if gpu is not None else own_ratios(statistics, measured),
        region=region,
        billing=billing,
        start_s=instance_start_s(start_s),
        stale=tuple(stale_caveats(COMPARED_BY)),
    )
    comparison = question.compared(sheet.offers, used)
    return dataclasses.replace(comparison, rows=question.with_all_at_work(comparison.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A training and what it is compared with, except the number of GPUs used."""

    estimate: Estimate
    asked: RunFacts
    home: Home
    sheet: PriceSheet
    specs: Mapping[str, GpuSpec]
    given: Mapping[str, float]
    own: Mapping[str, tuple[Interval, str]]
    region: str | None
    billing: tuple[str, ...]
    start_s: Interval
    stale: tuple[Caveat, ...]

    def compared(self, offers: Sequence[Offer], used_gpu_count: int, *, where_known: bool = False) -> Comparison:
        """The comparison with those offers, at that number of GPUs.

        Raises:
            InvalidInputError: If no speed ratio is known for one of them; with ``where_known``, it is left out.
        """
        asked = dataclasses.replace(self.asked, gpu_count=used_gpu_count)
        offered = [self.specs[offer.gpu_id] for offer in offers]
        return compare_offers(
            self.estimate,
            sheet=dataclasses.replace(self.sheet, offers=tuple(offers)),
            ratios=_ratios(asked, self.home, offered, given=self.given, own=self.own, where_known=where_known),
            specs=self.specs,
            regions=Regions(read_regions()),
            pue=read_default_pue("cloud")[0],
            region=self.region,
            home_name=self.home.name,
            billing=self.billing,
            rental=Rental(used_gpu_count=used_gpu_count, start_s=self.start_s),
            caveats=(*self.home.caveats, *self.stale),
            today=time.strftime("%Y-%m-%d", time.gmtime()),
        )

    def with_all_at_work(self, rows: Sequence[ComparisonRow]) -> tuple[ComparisonRow, ...]:
        """The rows with the figures for using all rented GPUs, where that is more, and a note that says so."""
        offers_by_count: dict[int, list[Offer]] = {}
        for row in rows:
            if row.rented_gpu_count != row.used_gpu_count and row.speed_ratio.basis != "given":
                offers_by_count.setdefault(row.rented_gpu_count, []).append(row.offer)
        time_s_of = {
            row.offer: row.estimate.time_s
            for count, offers in offers_by_count.items()
            for row in self.compared(offers, count, where_known=True).rows
        }
        return tuple(_with_all_at_work(row, time_s_of.get(row.offer)) for row in rows)


def _with_all_at_work(row: ComparisonRow, time_s: Interval | None) -> ComparisonRow:
    if time_s is None:
        return row
    note = Caveat.of("all-at-work", gpu=row.offer.gpu, count=row.rented_gpu_count, time=spoken_point(time_s))
    estimate = dataclasses.replace(row.estimate, caveats=(*row.estimate.caveats, note))
    return dataclasses.replace(row, estimate=estimate, all_at_work_time_s=time_s)


def compare_with_offers(estimated: Estimated, options: Options, probes: Probes) -> Estimated:
    """The estimate with its comparison, and with the ratios stored; a failed comparison only adds a caveat.

    Args:
        estimated: The estimate at home.
        options: The caller's options.
        probes: Probes made so far, used in place of another one; a new one is added.
    """
    estimate = estimated.estimate
    try:
        estimate = with_probe(estimate, probes)
        comparison = compare_estimate(
            estimate,
            gpu=None,
            prices=options.prices,
            region=options.cloud_region,
            task=None,
            precision=None,
            speed_ratios=options.speed_ratios,
            measured=options.measured,
            billing=options.billing,
            gpus=options.gpus,
            start_s=options.start_s,
        )
    except GreenloveError as error:
        logger.info("no comparison: %s", error)
        say_on_stderr(f"no comparison: {error}")
        unknown = dataclasses.replace(estimated, estimate=estimate, comparison=None)
        return unknown.with_caveat(Caveat.of("no-comparison", why=str(error)))
    estimate = replace_ratios(estimate, comparison, cloud_region=options.cloud_region, start_s=options.start_s)
    return dataclasses.replace(estimated, estimate=estimate, comparison=comparison)


def replace_ratios(
    estimate: Estimate, comparison: Comparison, *, cloud_region: str | None = None, start_s: float | None = None
) -> Estimate:
    """The estimate with each offer's speed ratio, and how it was requested, stored in its run facts.

    Args:
        estimate: The estimate at home.
        comparison: The comparison that holds the ratios.
        cloud_region: Region of the offers as requested; None when not given.
        start_s: Seconds that an instance needs to start, as stated; None when not given.
    """
    if estimate.statistics is None:
        return estimate
    ratios = {row.offer.gpu_id: row for row in comparison.rows}
    statistics = dataclasses.replace(
        estimate.statistics,
        ratios=tuple(
            OfferRatio(gpu_id=gpu_id, speed_ratio=row.speed_ratio, rented_gpu_count=row.rented_gpu_count)
            for gpu_id, row in ratios.items()
        ),
        prices_version=comparison.prices.version,
        throughput_version=table_versions("gpu_throughput")[-1],
        cloud_region=cloud_region,
        instance_start_s=start_s,
        gpu_count=comparison.rows[0].used_gpu_count if comparison.rows else estimate.statistics.home_gpu_count,
    )
    return dataclasses.replace(estimate, statistics=statistics)


def check_offers(
    prices: str | Path | PriceSheet,
    *,
    billing: tuple[str, ...],
    speed_ratios: Mapping[str, float],
    region: str | None = None,
    gpus: int | None = None,
    task: str | None = None,
) -> PriceSheet:
    """The requested price sheet, checked for the kinds of price, the GPUs, their number and the rest asked for.

    Args:
        prices: ``newest``, a version, a path to a price sheet, or a ``PriceSheet``.
        billing: Kinds of price to compare.
        speed_ratios: Known speed ratios by GPU.
        region: Cloud region of the offers; None when not given.
        gpus: GPUs used on an offer; None for as many as at home.
        task: Published benchmark to take speed ratios from.

    Raises:
        InvalidInputError: If no offer has such a kind of price, a GPU or region is in no table, a region's name is that
            of several other providers, or nothing is known of so many GPUs; the message lists valid ones.
        TableError: If the sheet is invalid.
    """
    sheet = read_price_sheet(prices)
    task_names(task, read_ratio_evidence())
    if gpus is not None and checks.whole("gpus", gpus) > (most := known_gpu_counts(read_ratio_evidence())[-1]):
        raise InvalidInputError(f"gpus must be from 1 to {most}, the most that published runs tell of; got {gpus}")
    for each in billing:
        if each not in DEFAULT_BILLING:
            checks.named("billing", each, {offer.billing for offer in sheet.offers} | set(DEFAULT_BILLING))
    regions = Regions(read_regions())
    if region is not None:
        checks.named("cloud_region", region, regions.names)
    for offer in sheet.offers:
        for name in offer.regions if region is None else (region,):
            regions.find(name, provider=offer.provider)
    offer_names = {offer.gpu: offer.gpu_id for offer in sheet.offers}
    for name in speed_ratios:
        find_gpu(name, read_gpu_specs(), offer_names=offer_names)
    return sheet


def _ratios(
    asked: RunFacts,
    home: Home,
    offered: Iterable[GpuSpec],
    *,
    given: Mapping[str, float],
    own: Mapping[str, tuple[Interval, str]],
    where_known: bool,
) -> dict[str, SpeedRatio]:
    """The speed ratio of every offered GPU: as given, else from the user's own runs, else from the tables."""
    evidence = read_ratio_evidence()
    ratios: dict[str, SpeedRatio] = {}
    for spec in dict.fromkeys(offered):
        own_ratio, run_id = own.get(spec.gpu_id, (None, ""))
        try:
            ratio = speed_ratio(
                home.hardware,
                spec,
                evidence=evidence,
                precision=asked.precision,
                task=asked.task,
                model_kind=asked.model_kind,
                profile=asked.scaled_profile,
                given=given.get(spec.gpu_id),
                measured=own_ratio,
                gpu_count=asked.gpu_count,
                home_gpu_count=asked.home_gpu_count,
                by_original=asked.fit.method != "adaptive",
            )
        except InvalidInputError:
            # There are no published runs on that many GPUs with such links.
            if where_known:
                continue
            raise
        if own_ratio is not None and ratio.basis == "measured":
            ratio = dataclasses.replace(ratio, detail=f"{ratio.detail}, run {run_id}")
        ratios[spec.gpu_id] = ratio
    return ratios


def instance_start_s(given: float | None) -> Interval:
    """Seconds that an instance needs to start: as given, else a table's figure across clouds."""
    return read_instance_start()[0] if given is None else Interval.exactly(checks.number("start_s", given))


def with_probe(estimate: Estimate, probes: Probes) -> Estimate:
    """The estimate with a probe of its hardware if it is in no table, for later re-estimations.

    Args:
        estimate: The estimate.
        probes: Probes made so far, used in place of another one; a new one is added.
    """
    statistics = estimate.statistics
    if statistics is None or statistics.home is not None or statistics.probe is not None:
        return estimate
    if is_counted(statistics.scaled_profile):
        return estimate
    key = statistics.machine.device, statistics.precision
    probe = probes[key] = probes.get(key) or _probe(statistics)
    return dataclasses.replace(estimate, statistics=dataclasses.replace(statistics, probe=probe))


def _probe(statistics: RunFacts) -> ProbeResult:
    from greenlove_mlflow.benchmark.machine.probe import probe_hardware

    return probe_hardware(statistics.machine.device, statistics.precision)


def find_home(statistics: RunFacts, gpu: str | None, offer_names: Mapping[str, str] | None = None) -> Home:
    """The hardware that ratios are relative to: the named GPU, the measured one, or a probe of unlisted hardware."""
    if gpu is not None:
        spec = find_gpu(gpu, read_gpu_specs(), offer_names=offer_names)
        if statistics.home is not None and spec.gpu_id == statistics.home.gpu_id:
            return Home(hardware=spec, name=spec.name)
        return Home(
            hardware=spec,
            name=spec.name,
            caveats=(Caveat.of("time-measured-elsewhere", machine=statistics.machine.processor_name, gpu=spec.name),),
        )
    if statistics.home is not None:
        caveats = name_caveats(statistics.home, read_gpu_specs())
        return Home(hardware=statistics.home, name=statistics.home.name, caveats=caveats)
    name = statistics.machine.processor_name
    if is_counted(statistics.scaled_profile):
        return Home(hardware=None, name=name, caveats=(Caveat.of("counted-work", machine=name),))
    probe = statistics.probe or _probe(statistics)
    return Home(
        hardware=probe,
        name=name,
        caveats=(Caveat.of("probed-hardware", machine=name),),
    )
