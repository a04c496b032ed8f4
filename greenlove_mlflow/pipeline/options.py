"""Options: arguments besides model, optimizer, criterion and data, checked before anything runs."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from greenlove_mlflow.core.account.estimate import Estimate
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING, PriceSheet
from greenlove_mlflow.core.records import Method
from greenlove_mlflow.core.speed.gpus import Precision
from greenlove_mlflow.core.workload import Scope
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.pipeline import checks

if TYPE_CHECKING:
    from greenlove_mlflow.benchmark.ranks import Ranks

# before: a separate benchmark, after which all state is restored; within: the first seconds of the training.
BenchmarkMode = Literal["before", "within"]
Progress = Callable[[str, float, float], None]
TrainStep = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every option of ``track`` and ``estimate``.

    Args:
        epochs: Epochs of the real training, at least 1; None if it is planned by ``steps``.
        steps: Optimizer steps of the real training; exactly one of ``epochs`` and ``steps`` is given.
        done: Epochs, or steps, that earlier parts of the training have done.
        accumulation: Batches per optimizer step, with gradient accumulation.
        lap_steps: Optimizer steps metered as one lap; those of an epoch if the data has a length.
        benchmark: ``before`` the training, with all state restored, or ``within`` its first seconds; chosen when not
            given: ``before``, but ``within`` on several ranks.
        batch_size: Samples per batch when ``data`` is a dataset (64 when not given); with a loader it must equal the
            loader's.
        device: Device of the training; the model's device when not given.
        train_step: ``train_step(model, batch, optimizer, criterion, device)``, replaces the default step.
        steps_per_epoch: Batches per epoch, for data without a length.
        extra_state: Objects with ``state_dict`` that the step changes (gradient scaler, scheduler, EMA).
        validation: A loader, or a pair of loader and step, to run after an epoch.
        validation_every_epochs: Number of epochs between validations.
        extra_per_epoch_s: Additional seconds per epoch (checkpoints).
        one_off_s: Additional seconds paid once (preprocessing).
        method: ``adaptive``, or ``original`` for the original's formulas.
        budget_s: Seconds the benchmark may take; chosen automatically when not given.
        precision: Precision of the training's matrix products; detected when not given.
        task: Published benchmark to take speed ratios from; a mean over tasks when not given.
        country: Two-letter country code of the machine's location.
        region: State, subregion or zone inside the country ("VA", "SRVC", "CA-QC").
        scope: ``lifecycle`` or ``direct`` grid intensity, the same on both sides of a comparison.
        carbon_intensity_g_per_kwh: Grid intensity, instead of the table's.
        electricity_price_usd_per_kwh: Electricity price, instead of the table's.
        pue: Power usage effectiveness of the location, at least 1.
        tdp_w: Board power to assume when it cannot be measured, watts.
        gpu_utilization: Share of the board power to assume when power is modelled, 0 to 1.
        gpu_index: NVML index of the board to meter; the training's own when not given.
        net_of_idle: Count only power above idle.
        live_carbon: Ask Electricity Maps for the current grid intensity (needs the key in the environment).
        live_zone: Electricity Maps zone to ask for ("US-MIDA-PJM"); the location's code when not given.
        locate: ``"geoip"`` finds the location by the machine's IP address; no lookup otherwise.
        prices: ``newest``, a version, a path to your own price sheet, or a ``PriceSheet``.
        speed_ratios: Known speed ratios by GPU, ``{"H100 HGX 80GB": 2.5}``.
        measured: ``auto`` takes ratios from your own runs of the same workload in MLflow; a run id takes that run's.
        cloud_region: Region of the offers; the median of their regions when not given.
        billing: Kinds of price to compare (``on-demand``, ``spot``, ``reserved-1y``, ...).
        gpus: GPUs used on an offer, 1 to 8; as many as at home, one for each rank, when not given. The smallest
            instance that has them is rented and paid in full.
        start_s: Seconds that a rented instance needs to start; a sourced value when not given.
        home_usd_per_hour: Hourly rent of this machine, instead of its electricity cost.
        history: Learn the machine's drift from finished runs in MLflow.
        power_poll_interval_s: Seconds between power samples.
        summary: Whether ``track`` and ``watch`` print on stderr: the summary, a live line with what is left, and a line
            at the end; only on a terminal when not given. Callbacks and ``autolog`` print only with True.
        progress: Called with phase, seconds done and seconds planned while the benchmark runs.
        on_epoch: Called after each real epoch with epochs done, epochs planned and the forecast; on rank 0 alone.
        plan: Fields of ``BenchmarkPlan`` to override.
    """

    epochs: int | None = None
    steps: int | None = None
    done: int = 0
    accumulation: int | None = None
    lap_steps: int | None = None
    benchmark: BenchmarkMode | None = None
    batch_size: int | None = None
    device: Any = None
    train_step: TrainStep | None = None
    steps_per_epoch: int | None = None
    extra_state: tuple[Any, ...] = ()
    validation: Any = None
    validation_every_epochs: int = 1
    extra_per_epoch_s: float = 0.0
    one_off_s: float = 0.0
    method: Method = "adaptive"
    budget_s: float | None = None
    precision: Precision | None = None
    task: str | None = None
    country: str | None = None
    region: str | None = None
    scope: Scope = "lifecycle"
    carbon_intensity_g_per_kwh: float | None = None
    electricity_price_usd_per_kwh: float | None = None
    pue: float | None = None
    tdp_w: float | None = None
    gpu_utilization: float | None = None
    gpu_index: int | None = None
    net_of_idle: bool = False
    live_carbon: bool = False
    live_zone: str | None = None
    locate: Literal["geoip"] | None = None
    prices: str | Path | PriceSheet = "newest"
    speed_ratios: Mapping[str, float] = dataclasses.field(default_factory=dict)
    measured: str | None = None
    cloud_region: str | None = None
    billing: tuple[str, ...] = DEFAULT_BILLING
    gpus: int | None = None
    start_s: float | None = None
    home_usd_per_hour: float | None = None
    history: bool = True
    power_poll_interval_s: float = 0.1
    summary: bool | None = None
    progress: Progress | None = None
    on_epoch: Callable[[int, int, Estimate], None] | None = None
    plan: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_plan(self.epochs, self.steps, self.done)
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_LEFT_OUT:
                object.__setattr__(self, name, check(name, value))

    def asked_for(self, what: str) -> str:
        """The call by its plan, which is the same on all ranks of a training: ``track(epochs=4)``."""
        planned = f"epochs={self.epochs}" if self.steps is None else f"steps={self.steps}"
        return f"{what}({planned}, done={self.done})" if self.done else f"{what}({planned})"

    def on(self, ranks: Ranks | None) -> Options:
        """The options of this rank: only rank 0 asks the network and shows progress."""
        if ranks is None or ranks.is_leader:
            return self
        return dataclasses.replace(self, live_carbon=False, locate=None, progress=None, on_epoch=None)


def make_options(epochs: int | None, given: Mapping[str, Any]) -> Options:
    """The checked options of a call; an unknown name raises an error that suggests the nearest ones."""
    known = [field.name for field in dataclasses.fields(Options)]
    for name in given:
        if name not in known:
            if name in _OF_TRACK:
                raise InvalidInputError(f"{name}= is an option of greenlove.track; nothing is trained here")
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; the options are {', '.join(known)}"
            raise InvalidInputError(f"there is no option {name!r}{hint}")
    return Options(epochs=epochs, **given)


def _check_plan(epochs: Any, steps: Any, done: Any) -> None:
    if steps is None or epochs is not None:
        checks.whole("epochs", epochs)
    if steps is not None and epochs is not None:
        raise InvalidInputError("pass epochs= or steps=, not both")
    planned = checks.whole("epochs", epochs) if steps is None else checks.whole("steps", steps)
    if checks.whole("done", done, least=0) >= planned:
        raise InvalidInputError(f"done must be a whole number from 0 to below the {planned} planned, got {done!r}")


# Options that only what trains has.
_OF_TRACK = ("limits", "confirm", "on_refusal", "on_limit", "experiment", "run_name", "run_id", "tags")
_STEP = "model, batch, optimizer, criterion, device"


def _of_objects(name: str, value: Any) -> tuple[Any, ...]:
    """Objects with a state, as a tuple; a single object is accepted."""
    if hasattr(value, "state_dict"):
        return (value,)
    if not isinstance(value, (list, tuple)):
        raise InvalidInputError(f"{name} must be one or several objects with state_dict, got {type(value).__name__}")
    return tuple(value)


def _of_validation(name: str, value: Any) -> Any:
    """A loader, or a pair of one and a step that can be called as it will be."""
    if isinstance(value, tuple) and len(value) == 2 and callable(value[1]):
        checks.function(f"the step of {name}", value[1], takes=_STEP)
    return value


def _of_plan(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{name} must map names of fields to values, got {value!r}")
    if value:
        from greenlove_mlflow.benchmark.session import BenchmarkPlan

        for field in value:
            checks.named(f"a field of {name}", field, (each.name for each in dataclasses.fields(BenchmarkPlan)))
        try:
            BenchmarkPlan(**{"epoch_count": 1, **value})
        except TypeError as error:
            raise InvalidInputError(f"{name} has a value of a wrong type: {error}") from None
    return value


def _number(**bounds: Any) -> Callable[[str, Any], float]:
    return functools.partial(checks.number, **bounds)


def _choice(*choices: Any) -> Callable[[str, Any], Any]:
    return lambda name, value: checks.choice(name, value, choices)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(
        ("epochs", "steps", "accumulation", "lap_steps", "batch_size", "steps_per_epoch", "validation_every_epochs"),
        checks.whole,
    ),
    "gpus": checks.whole,
    "done": functools.partial(checks.whole, least=0),
    "gpu_index": functools.partial(checks.whole, least=0),
    **dict.fromkeys(
        (
            "carbon_intensity_g_per_kwh",
            "electricity_price_usd_per_kwh",
            "home_usd_per_hour",
            "extra_per_epoch_s",
            "one_off_s",
            "start_s",
        ),
        _number(),
    ),
    "pue": _number(least=1.0),
    **dict.fromkeys(("tdp_w", "budget_s", "power_poll_interval_s"), _number(above=True)),
    "gpu_utilization": _number(above=True, most=1.0),
    **dict.fromkeys(("net_of_idle", "live_carbon", "history", "summary"), checks.flag),
    **dict.fromkeys(("task", "country", "region", "live_zone", "measured", "cloud_region"), checks.text),
    "train_step": lambda name, step: checks.function(name, step, takes=_STEP) if callable(step) else step,
    "validation": _of_validation,
    "progress": functools.partial(checks.function, takes="phase, done_s, planned_s"),
    "on_epoch": functools.partial(checks.function, takes="done, planned, forecast"),
    "benchmark": _choice(*get_args(BenchmarkMode)),
    "method": _choice(*get_args(Method)),
    "precision": _choice(*get_args(Precision)),
    "scope": _choice(*get_args(Scope)),
    "locate": _choice("geoip"),
    "speed_ratios": checks.ratios,
    "billing": checks.texts,
    "extra_state": _of_objects,
    "plan": _of_plan,
}
_MAY_BE_LEFT_OUT = frozenset(field.name for field in dataclasses.fields(Options) if field.default is None)


class TrackOptions(TypedDict, total=False):
    """The keyword options of ``track`` and ``estimate``, besides their named parameters."""

    done: int
    accumulation: int | None
    lap_steps: int | None
    benchmark: BenchmarkMode | None
    batch_size: int | None
    device: Any
    train_step: TrainStep | None
    steps_per_epoch: int | None
    extra_state: tuple[Any, ...]
    validation: Any
    validation_every_epochs: int
    extra_per_epoch_s: float
    one_off_s: float
    method: Method
    budget_s: float | None
    precision: Precision | None
    task: str | None
    country: str | None
    region: str | None
    scope: Scope
    carbon_intensity_g_per_kwh: float | None
    electricity_price_usd_per_kwh: float | None
    pue: float | None
    tdp_w: float | None
    gpu_utilization: float | None
    gpu_index: int | None
    net_of_idle: bool
    live_carbon: bool
    live_zone: str | None
    locate: Literal["geoip"] | None
    prices: str | Path | PriceSheet
    speed_ratios: Mapping[str, float]
    measured: str | None
    cloud_region: str | None
    billing: tuple[str, ...]
    gpus: int | None
    start_s: float | None
    home_usd_per_hour: float | None
    history: bool
    power_poll_interval_s: float
    summary: bool | None
    progress: Progress | None
    on_epoch: Callable[[int, int, Estimate], None] | None
    plan: Mapping[str, Any]
