"""ModelFacts: the data in the model, namely run facts, speed ratios of all known GPUs, and offers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.codec import from_plain, to_plain
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.offers.offer import Offer
from greenlove_mlflow.core.offers.regions import Region
from greenlove_mlflow.core.speed.gpus import Basis, GpuSpec, SpeedRatio
from greenlove_mlflow.errors import RunDataError

FACTS_SCHEMA_VERSION = "2"
FACTS_ARTIFACT = "facts"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRatio:
    """The speed of a GPU relative to home, on the log scale."""

    gpu_id: str
    log_ratio: float
    log_half_width: float
    basis: Basis

    @classmethod
    def of(cls, gpu_id: str, speed_ratio: SpeedRatio) -> GpuRatio:
        """The ratio of a GPU on the log scale."""
        return cls(
            gpu_id=gpu_id,
            log_ratio=math.log(speed_ratio.ratio.point),
            log_half_width=speed_ratio.ratio.log_half_width,
            basis=speed_ratio.basis,
        )

    @property
    def speed_ratio(self) -> SpeedRatio:
        """The ratio on the linear scale."""
        return SpeedRatio(
            ratio=Interval.from_log_width(math.exp(self.log_ratio), self.log_half_width), basis=self.basis
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Everything that ``predict`` needs.

    Args:
        statistics: Run facts; None for a model whose rows hold their own.
        ratios: Speed ratios relative to the run's machine, one per GPU of the specs table.
        specs: The specs table, without the columns that only ratios are computed from.
        offers: Offers of published price sheets, newest first, without prices; they complete a price row that names
            one.
        regions: Regions of the cloud, with their grids.
        cloud_pue: Power usage effectiveness of an offer's data centre.
        start_s: Seconds that an instance needs to start, where a run states none.
        package_version: Version of the package that wrote the model.
    """

    statistics: RunFacts | None
    ratios: tuple[GpuRatio, ...]
    specs: tuple[GpuSpec, ...]
    offers: tuple[Offer, ...]
    regions: tuple[Region, ...]
    cloud_pue: Interval
    start_s: float = 0.0
    package_version: str = ""
    schema_version: str = FACTS_SCHEMA_VERSION

    def to_json(self) -> str:
        """The facts as one line of strict JSON."""
        return json.dumps({**to_plain(self), "schema_version": self.schema_version}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ModelFacts:
        """The facts that ``to_json`` wrote.

        Raises:
            RunDataError: If the text is not such JSON or has another schema version.
        """
        try:
            content = json.loads(text)
            version = content.get("schema_version")
            if version == FACTS_SCHEMA_VERSION:
                facts: ModelFacts = from_plain(cls, content)
                return facts
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunDataError(f"the facts of the estimator model are broken: {error}") from error
        raise RunDataError(
            f"the estimator model holds facts of schema version {version!r} and this greenlove-mlflow reads "
            f"{FACTS_SCHEMA_VERSION!r}; without greenlove-mlflow installed, the model runs the code that it carries"
        )

    def speed_ratios(self) -> Mapping[str, SpeedRatio]:
        """The speed ratios by GPU."""
        return {each.gpu_id: each.speed_ratio for each in self.ratios}
