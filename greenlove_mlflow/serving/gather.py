"""Gathers a model's data from a run's facts and the tables."""

from __future__ import annotations

from collections.abc import Iterable

from greenlove_mlflow._version import __version__
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.offers.offer import Offer, PriceSheet
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.serving.facts import GpuRatio, ModelFacts
from greenlove_mlflow.tables import (
    read_default_pue,
    read_gpu_specs,
    read_instance_start,
    read_price_sheet,
    read_regions,
    table_versions,
)
from greenlove_mlflow.tables.prices.sheets import PRICE_TABLE
from greenlove_mlflow.tables.published_speeds import read_ratio_book


def gather_facts(statistics: RunFacts | None, *, sheet: PriceSheet | None = None) -> ModelFacts:
    """Everything that a model needs to estimate a run, or the runs whose facts its rows hold.

    Args:
        statistics: Run facts; None for a model without a run.
        sheet: The price sheet of the run's first comparison, if it is the user's own.
    """
    specs = read_gpu_specs()
    book = read_ratio_book()
    ratios = [] if statistics is None else [(spec.gpu_id, book.ratio_of(statistics, spec.gpu_id)) for spec in specs]
    return ModelFacts(
        statistics=statistics,
        ratios=tuple(GpuRatio.of(gpu_id, ratio) for gpu_id, ratio in ratios if ratio is not None),
        specs=tuple(_light_spec(spec) for spec in specs),
        offers=tuple(_light_offer(offer) for offer in _known_offers(sheet)),
        regions=read_regions(),
        cloud_pue=read_default_pue("cloud")[0],
        start_s=read_instance_start()[0].point,
        package_version=__version__,
    )


def _known_offers(sheet: PriceSheet | None) -> Iterable[Offer]:
    """One offer per GPU and version, from the user's sheet first, then from published ones, newest first."""
    published = (read_price_sheet(version) for version in reversed(table_versions(PRICE_TABLE)))
    own = () if sheet is None else (sheet,)
    first: dict[tuple[str, str], Offer] = {}
    for offer in (offer for each in (*own, *published) for offer in each.offers):
        first.setdefault((offer.gpu, offer.version), offer)
    return first.values()


def _light_offer(offer: Offer) -> Offer:
    """An offer without its price."""
    return Offer(
        provider=offer.provider,
        gpu=offer.gpu,
        gpu_id=offer.gpu_id,
        memory_gib=offer.memory_gib,
        price_usd_per_hour=None,
        gpu_counts=offer.gpu_counts,
        regions=offer.regions,
        version=offer.version,
    )


def _light_spec(spec: GpuSpec) -> GpuSpec:
    """A GPU's specs without the fields that only ratios are computed from."""
    kept = ("gpu_id", "name", "aliases", "alias_is_ambiguous", "memory_gib", "tdp_w", "idle_w")
    return GpuSpec(**{name: getattr(spec, name) for name in kept})
