"""Drift learned from finished runs: how far a machine's pace moves beyond what a benchmark can see.

Every finished run gives ``r = log(actual / estimated)``. Its square, minus the part explained by the benchmark's noise,
divided by the expected squared drift, estimates the square of a scale: 1 when the prior is right, less on a machine
with a steady pace. The scale moves from the prior (worth a fixed number of runs) to the record. The expected drift
shrinks this benchmark's suggestion towards the machine's usual one: a few seconds measure drift only roughly, and one
benchmark in a calm moment does not make a calm machine.

Source: the scaled inverse chi-squared posterior of a variance; split-conformal prediction for the check.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from greenlove_mlflow.core.records import Machine
from greenlove_mlflow.core.timing.fit import Fit, OriginalFit
from greenlove_mlflow.core.workload import Workload

# Drift of an unknown machine; replaced by a benchmark's own prior as soon as there is one.
DEFAULT_DRIFT_LOG_SD = 0.03
# How many finished runs the prior is worth.
PRIOR_DEGREES_OF_FREEDOM = 10.0
# Runs on another machine are less informative about this one.
LEAST_OWN_RUNS = 3
# A bias is corrected only when significant at the 1% level, over at least this many runs.
BIAS_LEVEL = 0.995
LEAST_RUNS_FOR_BIAS = 8
# With 19 runs the largest past error is a 95% bound; with a hundred the bound is better than the model.
LEAST_RUNS_FOR_CHECK = 19
LEAST_RUNS_FOR_CONFORMAL = 100
LEVEL = 0.95
CHECK_LEVEL = 0.01
# A run further from its estimate than this was not the run that was estimated.
LARGEST_RATIO = 4.0
SMALLEST_SCALE = 0.25
# How far, on the log scale, one benchmark's suggested drift is shrunk towards the usual one.
USUAL_SHARE = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far the actual time may be from what a benchmark measured, on the log scale.

    Args:
        log_sd: SD of log(actual/estimated) beyond the benchmark's own noise.
        degrees_of_freedom: Degrees of freedom of that SD.
        bias_log: Added to the log of a prediction: learned from past runs where significant, else the prior's.
        calibrated_on: Text on what it was learned from; empty for a prior.
        scale: Learned ratio of the drift to what a benchmark suggests; None for a drift used as it is.
        conformal_score: 95% bound of past errors in units of their expectation; None where the model is used.
        run_count: Finished runs it was learned from.
        usual_log_sd: Geometric mean of the drifts that those runs' benchmarks suggested; None for a prior.
        expected_log_sd: Expected drift for this benchmark before scaling; None for a prior.
    """

    log_sd: float
    degrees_of_freedom: float = PRIOR_DEGREES_OF_FREEDOM
    bias_log: float = 0.0
    calibrated_on: str = ""
    scale: float | None = None
    conformal_score: float | None = None
    run_count: int = 0
    usual_log_sd: float | None = None
    expected_log_sd: float | None = None

    def for_prior(self, prior: Drift) -> Drift:
        """This drift for a benchmark that suggests ``prior``: the learned scale times the expected drift."""
        if self.scale is None or self.usual_log_sd is None:
            return self
        expected = _expected_log_sd(prior.log_sd, self.usual_log_sd)
        return dataclasses.replace(
            self,
            log_sd=self.scale * expected,
            expected_log_sd=expected,
            bias_log=self.bias_log or prior.bias_log,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """One run that was estimated and then finished.

    Args:
        log_ratio: Log of actual over estimated time, without the estimate's bias correction.
        machine_fingerprint: Fingerprint of the machine it ran on.
        processor_name: Its GPU's name, else its CPU's.
        prior_log_sd: Drift suggested by its own benchmark.
        statistical_log_sd: SD of the log of the estimate without drift.
        was_inside: Whether the outcome was within the estimated range.
        promised_log_half_width: Log half-width of that range.
        promised_s: Estimated seconds.
        actual_s: Actual seconds.
        finished_at: When it ended, ISO 8601; orders the runs.
        run_id: MLflow run ID.
        unfit: Text on why nothing is learned from it; empty when something is.
    """

    log_ratio: float
    machine_fingerprint: str = ""
    processor_name: str = ""
    prior_log_sd: float = DEFAULT_DRIFT_LOG_SD
    statistical_log_sd: float = 0.0
    was_inside: bool = True
    promised_log_half_width: float = 0.0
    promised_s: float = 0.0
    actual_s: float = 0.0
    finished_at: str = ""
    run_id: str = ""
    unfit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The part of a run that was actually trained, from which a pace can be learned.

    Args:
        lap_count: Finished laps (epochs).
        laps_s: Their total seconds.
        step_count: Optimizer steps; None where they could not be counted.
        differs: Whether it followed another plan than the estimate's.
    """

    lap_count: int
    laps_s: float
    step_count: int | None = None
    differs: bool = False

    def to_text(self) -> str:
        """A short text for a tag."""
        return json.dumps({key: value for key, value in dataclasses.asdict(self).items() if value is not None})

    @classmethod
    def from_text(cls, text: str) -> Trained | None:
        """The record that ``to_text`` wrote; None for any other text."""
        try:
            content = json.loads(text)
            steps = content.get("step_count")
            return cls(
                lap_count=int(content["lap_count"]),
                laps_s=float(content["laps_s"]),
                step_count=None if steps is None else int(steps),
                differs=bool(content.get("differs", False)),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


def finished_run(
    fit: Fit,
    workload: Workload,
    actual_s: float,
    *,
    machine: Machine,
    finished_at: str = "",
    run_id: str = "",
    trained: Trained | None = None,
    is_left_out: bool = False,
) -> FinishedRun | None:
    """The record of a finished run; None when nothing can be compared (the original's method, a time of 0).

    A run that was stopped early counts by the pace of its finished epochs. A run that made no optimizer step, followed
    another plan or is implausibly far from its estimate is marked unfit.

    Args:
        fit: The fit of its estimate.
        workload: The planned run.
        actual_s: Seconds of the whole run.
        machine: The machine it ran on.
        finished_at: When it ended, ISO 8601.
        run_id: MLflow run ID.
        trained: The part that was actually trained; None for runs without that record.
        is_left_out: Whether the user excluded it.
    """
    if trained is not None and 0 < trained.lap_count < workload.epoch_count:
        workload, actual_s = dataclasses.replace(workload, epoch_count=trained.lap_count), trained.laps_s
    promised = fit.predict(workload)
    if isinstance(fit, OriginalFit) or not actual_s > 0.0 or not promised.point > 0.0:
        return None
    return FinishedRun(
        log_ratio=_log_ratio(actual_s, promised.point, fit.one_off_s) + fit.bias_log,
        machine_fingerprint=machine.fingerprint,
        processor_name=machine.processor_name,
        prior_log_sd=fit.prior_drift_log_sd or fit.drift_log_sd or DEFAULT_DRIFT_LOG_SD,
        statistical_log_sd=math.sqrt(max(0.0, fit.rate_log_sd(promised.point) ** 2 - fit.drift_log_sd**2)),
        was_inside=promised.contains(actual_s),
        promised_log_half_width=promised.log_half_width,
        promised_s=promised.point,
        actual_s=actual_s,
        finished_at=finished_at,
        run_id=run_id,
        unfit="left out" if is_left_out else _unfit(trained, actual_s / promised.point),
    )


def _unfit(trained: Trained | None, ratio: float) -> str:
    """Text on why nothing is learned from a run; empty when something is."""
    if trained is not None and trained.step_count == 0:
        return "no optimizer step"
    if trained is not None and trained.differs:
        return "another plan"
    if not 1.0 / LARGEST_RATIO < ratio < LARGEST_RATIO:
        return f"{ratio:.2g} times its promise"
    return ""


def _log_ratio(actual_s: float, promised_s: float, one_off_s: float) -> float:
    """Log of actual over estimated time, allowing for a one-off cost that was not paid a second time.

    A run that follows its benchmark in the same process finds the model already compiled, which is not drift.
    """
    without_s = promised_s - one_off_s
    if actual_s >= promised_s or without_s <= 0.0:
        return math.log(actual_s / promised_s)
    return min(0.0, math.log(actual_s / without_s))


def learn_drift(runs: Sequence[FinishedRun], *, machine: Machine, prior: Drift | None = None) -> Drift:
    """The drift learned from finished runs: those on this machine, else on its processor, else all.

    Args:
        runs: Finished runs; any order.
        machine: The one to estimate for.
        prior: The drift assumed without them.
    """
    prior = prior or Drift(log_sd=DEFAULT_DRIFT_LOG_SD)
    chosen, words = _choose([run for run in runs if not run.unfit], machine)
    if not chosen:
        return prior
    bias_log = _significant_bias(chosen)
    usual = math.exp(math.fsum(math.log(run.prior_log_sd) for run in chosen) / len(chosen))
    scores = sorted(_score(run, bias_log, usual) for run in chosen)
    learned = Drift(
        log_sd=prior.log_sd,
        degrees_of_freedom=prior.degrees_of_freedom + len(chosen),
        bias_log=bias_log,
        calibrated_on=_describe(chosen, words, bias_log),
        scale=_scale(chosen, bias_log, usual, prior.degrees_of_freedom),
        conformal_score=conformal_bound(scores) if _past_speaks_louder(chosen) else None,
        run_count=len(chosen),
        usual_log_sd=usual,
    )
    return learned.for_prior(prior)


def learned_drift(runs: Sequence[FinishedRun], *, machine: Machine) -> Drift | None:
    """Like ``learn_drift``, but None with too few runs, so that the benchmark's own prior is used."""
    drift = learn_drift(runs, machine=machine)
    return drift if drift.run_count else None


def conformal_bound(errors: Sequence[float], level: float = LEVEL) -> float | None:
    """The bound on a new error with probability ``level``, from past errors; None with too few of them.

    The k-th smallest of n with ``k = ceil(level (n + 1))``: valid for any distribution, as long as the new run is
    exchangeable with the old ones.

    >>> conformal_bound([0.01 * i for i in range(1, 20)])
    0.19
    """
    place = math.ceil(level * (len(errors) + 1))
    return sorted(errors)[place - 1] if place <= len(errors) else None


def _choose(runs: Sequence[FinishedRun], machine: Machine) -> tuple[list[FinishedRun], str]:
    known = [run for run in runs if math.isfinite(run.log_ratio)]
    circles: list[tuple[Callable[[FinishedRun], bool], str]] = [
        (lambda run: run.machine_fingerprint == machine.fingerprint, "on this machine"),
        (lambda run: run.processor_name == machine.processor_name, f"on a {machine.processor_name}"),
        (lambda _: True, "on other machines"),
    ]
    for belongs, words in circles:
        chosen = [run for run in known if belongs(run)]
        if len(chosen) >= LEAST_OWN_RUNS:
            return chosen, words
    return [], ""


def _significant_bias(runs: Sequence[FinishedRun]) -> float:
    from scipy.special import stdtrit

    count = len(runs)
    if count < LEAST_RUNS_FOR_BIAS:
        return 0.0
    mean = math.fsum(run.log_ratio for run in runs) / count
    sd = math.sqrt(math.fsum((run.log_ratio - mean) ** 2 for run in runs) / (count - 1))
    return mean if abs(mean) > float(stdtrit(count - 1, BIAS_LEVEL)) * sd / math.sqrt(count) else 0.0


def _expected_log_sd(own: float, usual: float) -> float:
    return math.exp((1.0 - USUAL_SHARE) * math.log(own) + USUAL_SHARE * math.log(usual))


def _scale(runs: Sequence[FinishedRun], bias_log: float, usual: float, freedom: float) -> float:
    squares = math.fsum(
        ((run.log_ratio - bias_log) ** 2 - run.statistical_log_sd**2) / _expected_log_sd(run.prior_log_sd, usual) ** 2
        for run in runs
    )
    return max(SMALLEST_SCALE, math.sqrt((freedom + max(0.0, squares)) / (freedom + len(runs))))


def _score(run: FinishedRun, bias_log: float, usual: float) -> float:
    expected = math.hypot(_expected_log_sd(run.prior_log_sd, usual), run.statistical_log_sd)
    return abs(run.log_ratio - bias_log) / expected


def _past_speaks_louder(runs: Sequence[FinishedRun]) -> bool:
    """Whether the conformal bound replaces the model: with very many runs, or when estimates keep missing."""
    if len(runs) >= LEAST_RUNS_FOR_CONFORMAL:
        return True
    misses = sum(not run.was_inside for run in runs)
    return len(runs) >= LEAST_RUNS_FOR_CHECK and misses_by_chance(misses, len(runs)) < CHECK_LEVEL


def misses_by_chance(misses: int, count: int) -> float:
    """Probability that at least ``misses`` of ``count`` estimates miss when each holds 95% of the time."""
    from scipy.special import bdtrc

    return 1.0 if misses == 0 else float(bdtrc(misses - 1, count, 1.0 - LEVEL))


def _describe(runs: Sequence[FinishedRun], words: str, bias_log: float) -> str:
    errors = [abs(run.log_ratio - bias_log) for run in runs]
    bound = conformal_bound(errors)
    plural = "s" if len(runs) != 1 else ""
    within = math.expm1(max(errors) if bound is None else bound)
    often = "every time" if bound is None else "nineteen times in twenty"
    width = f"{within:.1%}" if within < 1.0 else f"a factor of {1.0 + within:.2g}"
    return f"{len(runs)} finished run{plural} {words}: within {width} {often}"
