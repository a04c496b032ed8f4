"""All names that this package uses in MLflow: metrics, params, tags, artifacts."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import unicodedata

from greenlove_mlflow.core.offers.compare import ComparisonRow
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING, Offer
from greenlove_mlflow.core.quantity import CO2, COST, ENERGY, LOCAL, TIME
from greenlove_mlflow.errors import InvalidInputError

# Metrics. MLflow groups charts into sections by what precedes the last slash.
TIME_H, COST_USD, CO2_KG, ENERGY_KWH = (each.metric for each in (TIME, COST, CO2, ENERGY))
SAVING_TIME_H, SAVING_USD, SAVING_CO2_KG = (each.saving_metric for each in (TIME, COST, CO2))
BENCH_EPOCH_S = "green/bench/epoch_s"
BENCH_EPOCH_SCALED_S = "green/bench/epoch_scaled_s"
BENCH_SAMPLE_COUNT = "green/bench/sample_count"
BENCH_SPEARMAN_RHO = "green/bench/spearman_rho"
TRAIN_EPOCH_S = "green/train/epoch_s"
TRAIN_LAP_S = "green/train/lap_s"
TRAIN_ENERGY_J = "green/train/energy_j"
TRAIN_FORECAST_TIME_H = "green/train/forecast_time_h"
ACTUAL = "green/actual"
ACTUAL_TIME_H = "green/actual/time_h"
ACTUAL_ENERGY_KWH = "green/actual/energy_kwh"
ACTUAL_COST_USD = "green/actual/cost_usd"
ACTUAL_CO2_KG = "green/actual/co2_kg"
ACTUAL_TIME_ERROR_RATIO = "green/actual/time_error_ratio"
# Of a study's own run: what its trials have taken, and what all of them will take.
STUDY = "green/study"
STUDY_FORECAST = "green/study/forecast"
STUDY_TRIALS = "green/study/trials"
STUDY_PRUNED = "green/study/pruned"

# Params.
PARAM_GPU = "green.gpu"
PARAM_EPOCHS = "green.epochs"
PARAM_BATCH_SIZE = "green.batch_size"
PARAM_SAMPLE_COUNT = "green.sample_count"
PARAM_PRECISION = "green.precision"
PARAM_TASK = "green.task"
PARAM_COUNTRY = "green.country"
PARAM_CARBON_G_PER_KWH = "green.carbon_g_per_kwh"
PARAM_USD_PER_KWH = "green.usd_per_kwh"
PARAM_PRICES_VERSION = "green.prices_version"
PARAM_THROUGHPUT_VERSION = "green.throughput_version"
PARAM_METHOD = "green.method"
PARAM_BENCHMARK = "green.benchmark"
PARAM_BOUND_BY = "green.bound_by"
PARAM_WORLD_SIZE = "green.world_size"
PARAM_STEPS = "green.steps"
PARAM_DONE = "green.done"
PARAM_LAP_STEPS = "green.lap_steps"
PARAM_TRIALS = "green.trials"

# Tags.
TAG_SCHEMA_VERSION = "greenlove.schema_version"
TAG_KIND = "greenlove.kind"
TAG_STATUS = "greenlove.status"
TAG_REASON = "greenlove.reason"
TAG_REFUSAL = "greenlove.refusal"
TAG_TRAINED = "greenlove.trained"
TAG_NOT_HISTORY = "greenlove.not_history"
TAG_PARTIAL = "greenlove.partial"
TAG_STATS = "greenlove.stats"
TAG_VERSION = "greenlove.version"
TAG_MACHINE = "greenlove.machine"
TAG_WORKLOAD = "greenlove.workload"
TAG_PRICES_AS_OF = "greenlove.prices_as_of"
TAG_BEST_OPTION = "greenlove.best_option"
TAG_POWER_SOURCE = "greenlove.power_source"
TAG_SPOOL = "greenlove.spool"
TAG_BENCHMARK_RUN = "greenlove.benchmark_run"
TAG_PARENT = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"
KIND_TRACK = "track"
KIND_STUDY = "study"
KIND_REESTIMATE = "reestimate"
STATUS_RUNNING = "running"
STATUS_REFUSED = "refused"
STATUS_STOPPED = "stopped"
STATUS_PRUNED = "pruned"

# MLflow truncates a tag's value at 8,000 characters, often silently, and truncated JSON cannot be parsed.
TAG_VALUE_LIMIT = 8000
KEY_LIMIT = 250
_SLUG_LIMIT = 120

# Artifacts.
ARTIFACT_ROOT = "greenlove"
ARTIFACT_TABLES = "greenlove/tables"
ARTIFACT_BENCHMARK = "greenlove/benchmark.parquet"
ARTIFACT_BENCHMARK_CSV = "greenlove/benchmark.csv"
ARTIFACT_BLOCKS = "greenlove/blocks.parquet"
ARTIFACT_EPOCHS = "greenlove/epochs.parquet"
ARTIFACT_POWER = "greenlove/power.parquet"
ARTIFACT_ESTIMATES = "greenlove/estimates.json"
ARTIFACT_PLOTS = "greenlove/plots"
ARTIFACT_REPORT = "greenlove/report.html"

VIEW_ID = "greenlove"
TAG_SAVED_VIEW = f"mlflow.sharedViewState.{VIEW_ID}"

# Left out of slugs: Crusoe's is the default sheet, and "the user" stands for a user's sheet without a provider.
_UNNAMED_PROVIDERS = ("crusoe", "the user")
_NOT_SLUG = re.compile(r"[^A-Za-z0-9.]+")
_LEGAL_KEY = re.compile(r"^[\w.\- :]+(/[\w.\- :]+)*$")


def slug(name: str) -> str:
    """The name as one segment of a metric key: letters, digits, dots and dashes.

    A non-ASCII letter is replaced by its closest ASCII one; where there is none, six digits of a hash keep names
    distinct.

    >>> slug("H100 HGX 80GB"), slug("Apple M1 (8-core GPU)")
    ('H100-HGX-80GB', 'Apple-M1-8-core-GPU')
    """
    decomposed = unicodedata.normalize("NFKD", name)
    ascii_only = decomposed.encode("ascii", "ignore").decode()
    lost = any(ord(char) > 127 and unicodedata.category(char)[0] in "LNS" for char in decomposed)
    text = re.sub(r"\.{2,}", ".", _NOT_SLUG.sub("-", ascii_only)).strip("-.")
    if lost or not text or len(text) > _SLUG_LIMIT or text == LOCAL:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
        text = f"{text[:_SLUG_LIMIT].strip('-.') or 'gpu'}-{digest}"
    return text


def offer_slug(row: ComparisonRow) -> str:
    """The segment that names an offer in metric keys: its GPU, and how it differs from other offers of that GPU."""
    return slug_of_offer(row.offer, row.used_gpu_count)


def slug_of_offer(offer: Offer, used_gpu_count: int = 1) -> str:
    """The same segment for an offer without a comparison; the number of GPUs used is part of it."""
    is_plain = not offer.provider or offer.provider.lower().startswith(_UNNAMED_PROVIDERS)
    parts = [] if is_plain else [slug(offer.provider)]
    parts.append(slug(offer.gpu))
    if offer.billing not in DEFAULT_BILLING:
        parts.append(slug(offer.billing))
    if used_gpu_count > 1:
        parts.append(f"x{used_gpu_count}")
    return "-".join(parts)


def metric_key(quantity: str, subject: str, end: str = "") -> str:
    """The key of one quantity of one subject; ``end`` is ``lo``, ``hi`` or empty.

    >>> metric_key(TIME_H, LOCAL, "lo")
    'green/time_h/local_lo'
    """
    return f"{quantity}/{subject}_{end}" if end else f"{quantity}/{subject}"


def power_key(device: str) -> str:
    """The metric key of a device's power; MLflow's page draws it over time among the system metrics.

    >>> power_key("gpu_0")
    'system/greenlove/gpu_0_power_w'
    """
    return f"system/greenlove/{device}_power_w"


def step_of_date(date: str) -> int:
    """An ISO date as the step yyyymmdd, so that a newer price sheet has a later step.

    >>> step_of_date("2026-09-30")
    20260930
    """
    day = _parse_date(date)
    return day.year * 10_000 + day.month * 100 + day.day


def timestamp_ms_of_date(date: str) -> int:
    """Midnight UTC of an ISO date, in milliseconds since 1970.

    >>> timestamp_ms_of_date("1970-01-02")
    86400000
    """
    day = _parse_date(date)
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.timezone.utc).timestamp() * 1000)


def utc_of_timestamp_ms(timestamp_ms: int) -> str:
    """A time in milliseconds since 1970, as ISO 8601 in UTC to the second.

    >>> utc_of_timestamp_ms(86400999)
    '1970-01-02T00:00:00Z'
    """
    return f"{dt.datetime.fromtimestamp(timestamp_ms // 1000, dt.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def is_legal_key(key: str) -> bool:
    """Whether MLflow accepts the text as a metric, param or tag key on every platform and store."""
    return len(key) <= KEY_LIMIT and ":" not in key and ".." not in key and bool(_LEGAL_KEY.match(key))


def _parse_date(date: str) -> dt.date:
    try:
        return dt.date.fromisoformat(date[:10])
    except ValueError as error:
        raise InvalidInputError(f"a price sheet needs an as-of date such as 2026-09-30, got {date!r}") from error
