"""The time of runs on offers, as a share of their time at home: runs x GPUs at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenlove_mlflow.core.account.run_facts import OLD_SCHEMA_VERSION, RunFacts
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, FloatArray, Intervals
from greenlove_mlflow.core.normal import Longest
from greenlove_mlflow.core.offers.step_on_offer import (
    HomeSteps,
    StepOnOffer,
    TrainingShares,
    can_split,
    step_on_offer,
    training_on_offer,
)
from greenlove_mlflow.core.records import StepProfile
from greenlove_mlflow.core.speed.gpus import SpeedRatio
from greenlove_mlflow.core.timing.fit import OriginalFit
from greenlove_mlflow.core.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class TimesOnOffers:
    """The times of runs on offers; arrays of runs x GPUs, NaN where no ratio is known.

    Args:
        step: A training step on the offer.
        validation: A validation step on the offer.
        is_whole: 1 where the ratio is of the whole run.
        training: The distribution of the whole run's time as a share of that at home.
        share: The same as points with ranges.
        busy_ratio: Busy share of the board on the offer over that at home.
        busy_share: Busy share of the board on the offer, 0 to 1.
        splits: For each run, whether its profile separates the board's part of a step from the rest.
    """

    step: StepOnOffer
    validation: StepOnOffer
    is_whole: FloatArray
    training: Longest
    share: Intervals
    busy_ratio: FloatArray
    busy_share: FloatArray
    splits: tuple[bool, ...]


def times_on_offers(
    facts: Sequence[RunFacts],
    workloads: Sequence[Workload],
    gpu_ids: Sequence[str],
    ratios: Sequence[Sequence[SpeedRatio | None]],
) -> TimesOnOffers:
    """The times of runs on GPUs.

    Args:
        facts: The facts of each run.
        workloads: The workload of each run.
        gpu_ids: The GPUs, by the specs table's key.
        ratios: The speed ratio of each run and GPU; None where there is none.
    """
    log_ratio, ratio_log_sd, is_step, is_training = _ratio_columns(facts, gpu_ids, ratios)
    used = np.array([each.gpu_count for each in facts], dtype=np.float64).reshape(-1, 1)
    at_home = np.array([each.home_gpu_count for each in facts], dtype=np.float64).reshape(-1, 1)

    def on_offers(steps: HomeSteps) -> StepOnOffer:
        return step_on_offer(
            steps.picked(np.s_[:, np.newaxis]),
            log_ratio=log_ratio,
            ratio_log_sd=ratio_log_sd,
            is_whole=is_step,
            step_share=at_home / used,
        )

    contention = [each.fit.contention_share for each in facts]
    home_steps = HomeSteps.of([each.scaled_profile for each in facts], contention_shares=contention)
    step = on_offers(home_steps)
    checked = on_offers(HomeSteps.of([_validation_profile(each) for each in facts], contention_shares=contention))
    training = training_on_offer(step, checked, _shares(facts, workloads, is_training))
    low, high = (np.exp(training.log_quantile(probability)) for probability in (0.025, 0.975))
    busy_share = step.busy_share
    # A ratio of the whole step says nothing about how busy the board is, so assume as busy as at home.
    busy_at_home = np.where(is_step > 0.0, 1.0, home_steps.device[:, np.newaxis])
    return TimesOnOffers(
        step=step,
        validation=checked,
        is_whole=is_training,
        training=training,
        share=Intervals.between(training.point, np.minimum(low, training.point), np.maximum(high, training.point)),
        busy_ratio=busy_share / busy_at_home,
        busy_share=busy_share,
        splits=tuple(can_split(each.scaled_profile) for each in facts),
    )


def _validation_profile(facts: RunFacts) -> StepProfile | None:
    own = facts.validation_profile
    return own if can_split(own) and can_split(facts.scaled_profile) else facts.scaled_profile


def _ratio_columns(
    facts: Sequence[RunFacts], gpu_ids: Sequence[str], ratios: Sequence[Sequence[SpeedRatio | None]]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Log ratio, its SD, and flags for ratios of the whole step and of the whole run."""
    rows: list[tuple[float, float, float, float, float]] = []
    for each, of_run in zip(facts, ratios, strict=True):
        is_old = float(each.schema_version == OLD_SCHEMA_VERSION or isinstance(each.fit, OriginalFit))
        home_id = None if each.home is None else each.home.gpu_id
        for gpu_id, ratio in zip(gpu_ids, of_run, strict=True):
            if ratio is None:
                rows.append((np.nan, np.nan, np.nan, 0.0, 0.0))
                continue
            interval = ratio.ratio
            # A board is as fast as itself, which is a statement about the board, not a measurement of the whole step.
            is_step = is_old or float(ratio.basis == "given" or (ratio.basis == "measured" and gpu_id != home_id))
            is_training = is_old or float(ratio.basis == "given")
            rows.append((interval.point, interval.low, interval.high, is_step, is_training))
    shape = (len(facts), len(gpu_ids))
    point, low, high, is_step_of, is_training_of = np.array(rows, dtype=np.float64).reshape(-1, 5).T.reshape(5, *shape)
    log_sd = np.where(low == high, 0.0, np.log(high) - np.log(low)) / (2.0 * NORMAL_QUANTILE_95)
    return np.log(point), np.where(np.isnan(point), np.nan, log_sd), is_step_of, is_training_of


def _shares(facts: Sequence[RunFacts], workloads: Sequence[Workload], is_training: FloatArray) -> TrainingShares:
    parts = [each.home_fit.parts(workload) for each, workload in zip(facts, workloads, strict=True)]
    seconds = np.array([(each.steps_s, each.validation_s, each.fixed_s) for each in parts], dtype=np.float64)
    shares = (seconds.reshape(-1, 3) / seconds.reshape(-1, 3).sum(axis=1, keepdims=True))[:, :, np.newaxis]
    is_split = 1.0 - is_training
    paid_s = np.array([each.fit.one_off_s - each.home_fit.one_off_s for each in facts], dtype=np.float64)
    paid = (paid_s / seconds.reshape(-1, 3).sum(axis=1))[:, np.newaxis]
    return TrainingShares(
        steps=np.where(is_split > 0.0, shares[:, 0], 1.0),
        validation=shares[:, 1] * is_split,
        fixed=shares[:, 2] * is_split,
        paid=paid * is_split,
    )
