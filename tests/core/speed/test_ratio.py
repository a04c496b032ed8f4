"""Speed ratios: the best evidence, its basis and a range that is neither bold nor shy."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import numpy as np
import pytest

from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.speed.gpus import (
    GpuSpec,
    MlperfRow,
    ProbeResult,
    RatioModel,
    SpecBlend,
    SuiteBridge,
    TaskModel,
    ThroughputRow,
    group_of_task,
)
from greenlove_mlflow.core.speed.published import (
    LogRatio,
    RatioEvidence,
    mlperf_log_ratios,
    predict_new_workload,
    throughput_log_ratios,
)
from greenlove_mlflow.core.speed.ratio import speed_ratio
from greenlove_mlflow.core.speed.several_gpus import gpu_scaling
from greenlove_mlflow.core.speed.spec_offsets import compute_tflops, gpu_offset, is_matrix_rate_unknown, kind_of
from greenlove_mlflow.errors import InvalidInputError
from greenlove_mlflow.tables import read_gpu_specs
from greenlove_mlflow.tables.published_speeds import read_ratio_evidence, read_ratio_model

KNOWN = read_ratio_evidence()
SPECS = {spec.gpu_id: spec for spec in read_gpu_specs()}
H100, H200, B200 = (
    SPECS[gpu_id] for gpu_id in ("nvidia-h100-sxm5-80gb", "nvidia-h200-sxm-141gb", "nvidia-b200-sxm-180gb")
)
TASKS = ("resnet50", "ssd", "bert_base_squad", "bert_large_squad", "gnmt")


def a_spec(gpu_id: str = "a", **over: Any) -> GpuSpec:
    fields = {
        "gpu_id": gpu_id,
        "name": gpu_id.upper(),
        "vendor": "NVIDIA",
        "form_factor": "SXM",
        "memory_gib": 80.0,
        "memory_bandwidth_gb_per_s": 1000.0,
        "fp32_tflops": 20.0,
        "tf32_tflops": 80.0,
        "fp16_tflops": 160.0,
    }
    return GpuSpec(**{**fields, **over})


def some_rows(gpu_id: str, factor: float, *, suite: str = "v2", **by_task: float) -> tuple[ThroughputRow, ...]:
    return tuple(
        ThroughputRow(
            suite=suite,
            task=task,
            precision="fp16",
            gpu_id=gpu_id,
            gpu_count=1,
            throughput=100.0 * by_task.get(task, factor),
        )
        for task in TASKS
    )


def some_evidence(*rows: ThroughputRow, **over: Any) -> RatioEvidence:
    return RatioEvidence(throughput=rows, **{"specs": (a_spec("a"), a_spec("b"), a_spec("c")), **over})


def test_every_gpu_compared_with_itself_is_exactly_as_fast() -> None:
    for spec in SPECS.values():
        ratio = speed_ratio(spec, spec, evidence=KNOWN).ratio
        assert (ratio.low, ratio.point, ratio.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "tf32", "fp32"])
@pytest.mark.parametrize("kind", ["other", "convolutional", "transformer", "recurrent"])
def test_there_and_back_is_one_and_the_range_the_same(precision: Any, kind: str) -> None:
    pick = random.Random(f"{precision}{kind}")
    specs = [spec for spec in SPECS.values() if compute_tflops(spec, precision) or spec.memory_bandwidth_gb_per_s]
    for home, offer in (pick.sample(specs, 2) for _ in range(40)):
        there = speed_ratio(home, offer, evidence=KNOWN, precision=precision, model_kind=kind)
        back = speed_ratio(offer, home, evidence=KNOWN, precision=precision, model_kind=kind)
        assert there.basis == back.basis
        assert there.ratio.point * back.ratio.point == pytest.approx(1.0)
        assert there.ratio.log_half_width == pytest.approx(back.ratio.log_half_width)


def test_a_recurrent_model_is_told_as_any_workload_because_one_task_is_no_group() -> None:
    v100 = SPECS["nvidia-v100-sxm2-16gb"]
    told = speed_ratio(v100, H100, evidence=KNOWN, precision="tf32", model_kind="recurrent").ratio
    assert told == speed_ratio(v100, H100, evidence=KNOWN, precision="tf32", model_kind="other").ratio
    transformer = speed_ratio(v100, H100, evidence=KNOWN, precision="tf32", model_kind="transformer").ratio
    assert told.log_half_width > transformer.log_half_width


def test_every_range_is_at_least_eight_per_cent() -> None:
    least = min(
        speed_ratio(H100, spec, evidence=KNOWN, model_kind="convolutional").ratio.log_half_width
        for spec in SPECS.values()
        if spec is not H100
    )
    assert least >= math.log(1.08)


@pytest.mark.parametrize(
    ("task", "h200", "b200"),
    [("resnet50", 1.10, 1.10), ("ssd", 1.09, 1.18), ("bert_base_squad", 1.10, 1.66),
     ("bert_large_squad", 1.13, 1.69), ("gnmt", 1.19, 1.79)],
)  # fmt: skip
def test_a_chosen_task_gives_what_was_measured(task: str, h200: float, b200: float) -> None:
    for offer, expected in ((H200, h200), (B200, b200)):
        found = speed_ratio(H100, offer, evidence=KNOWN, precision="fp16", task=task)
        assert found.basis == "throughput"
        assert found.ratio.point == pytest.approx(expected, abs=0.006)
        assert task in found.detail


def test_a_task_that_no_table_knows_is_refused_with_those_it_knows() -> None:
    with pytest.raises(InvalidInputError, match="resnet50"):
        speed_ratio(H100, H200, evidence=KNOWN, task="resnet")


def test_a_task_measured_on_neither_leans_on_its_kind() -> None:
    found = speed_ratio(H100, H200, evidence=KNOWN, task="maskrcnn")
    assert "leaning on resnet50, ssd" in found.detail


def test_a_given_ratio_comes_first_and_is_taken_as_it_is() -> None:
    found = speed_ratio(H100, B200, evidence=KNOWN, given=2.5, measured=Interval.exactly(3.0))
    assert (found.basis, found.ratio) == ("given", Interval.exactly(2.5))
    with pytest.raises(InvalidInputError, match="above 0"):
        speed_ratio(H100, B200, evidence=KNOWN, given=0.0)


def test_a_measured_ratio_comes_before_the_tables_and_is_widened_by_the_boards() -> None:
    found = speed_ratio(H100, B200, evidence=KNOWN, measured=Interval.from_log_width(1.6, 0.02))
    assert found.basis == "measured"
    assert found.ratio.point == 1.6
    assert found.ratio.log_half_width == pytest.approx(math.hypot(0.02, math.log(1.08)), rel=1e-3)


def test_the_kind_of_model_decides_which_tasks_count() -> None:
    rows = (*some_rows("a", 1.0), *some_rows("b", 2.0, resnet50=1.1, ssd=1.1))
    model = RatioModel(tasks={"fp16": TaskModel(group_variance=3.0, base=0.1)})
    evidence = some_evidence(*rows, model=model)
    by_kind = {
        kind: speed_ratio(a_spec("a"), a_spec("b"), evidence=evidence, model_kind=kind).ratio.point
        for kind in ("convolutional", "transformer", "other")
    }
    assert by_kind["convolutional"] < 1.2 < by_kind["other"] < 1.8 < by_kind["transformer"]


def test_tasks_that_disagree_widen_the_range() -> None:
    agreeing = some_evidence(*some_rows("a", 1.0), *some_rows("b", 2.0))
    disagreeing = some_evidence(*some_rows("a", 1.0), *some_rows("b", 2.0, resnet50=1.0, gnmt=4.0))
    widths = [
        speed_ratio(a_spec("a"), a_spec("b"), evidence=evidence).ratio.log_half_width
        for evidence in (agreeing, disagreeing)
    ]
    assert widths[0] < widths[1]


def test_the_newest_suite_with_both_is_used() -> None:
    old = (*some_rows("a", 1.0, suite="v1"), *some_rows("b", 3.0, suite="v1"))
    evidence = some_evidence(*old, *some_rows("a", 1.0), *some_rows("b", 2.0))
    found = throughput_log_ratios(evidence, "a", "b", "fp16")
    assert {each.within for each in found} == {"v2"}
    assert math.exp(found[0].log_ratio) == pytest.approx(2.0)


def test_suites_are_bridged_and_the_bridge_widens_the_range() -> None:
    bridges = tuple(
        SuiteBridge(
            from_suite="v1",
            to_suite="v2",
            task=task,
            precision="fp16",
            gpu_count=4,
            ratio_median=1.25,
            ratio_min=1.15,
            ratio_max=1.35,
        )
        for task in TASKS
    )
    apart = some_evidence(*some_rows("a", 1.0, suite="v1"), *some_rows("b", 2.5), bridges=bridges)
    together = some_evidence(*some_rows("a", 1.0), *some_rows("b", 2.0))
    bridged = speed_ratio(a_spec("a"), a_spec("b"), evidence=apart)
    direct = speed_ratio(a_spec("a"), a_spec("b"), evidence=together)
    assert bridged.ratio.point == pytest.approx(2.0)
    assert bridged.ratio.log_half_width > direct.ratio.log_half_width
    assert "v1 bridged to v2" in bridged.detail


def test_without_a_bridge_two_suites_say_nothing() -> None:
    evidence = some_evidence(*some_rows("a", 1.0, suite="v1"), *some_rows("b", 2.5))
    assert speed_ratio(a_spec("a"), a_spec("b"), evidence=evidence).basis == "spec"


def a_time(gpu_id: str, minutes: float, **over: Any) -> MlperfRow:
    fields = {"round": "v5.1", "benchmark": "llama2_70b_lora", "gpu_id": gpu_id, "accelerator_count": 8}
    return MlperfRow(**{**fields, "minutes": minutes, **over})


def test_mlperf_is_compared_within_a_round_and_a_number_of_gpus() -> None:
    evidence = some_evidence(
        mlperf=(a_time("a", 20.0), a_time("b", 10.0, round="v5.0"), a_time("b", 5.0, accelerator_count=4))
    )
    assert mlperf_log_ratios(evidence, a_spec("a"), a_spec("b")) == ()
    both = some_evidence(mlperf=(a_time("a", 20.0), a_time("a", 30.0), a_time("b", 10.0)))
    found = speed_ratio(a_spec("a"), a_spec("b"), evidence=both)
    assert (found.basis, found.ratio.point) == ("mlperf", pytest.approx(2.0))


def test_mlperf_says_nothing_of_full_precision() -> None:
    evidence = some_evidence(mlperf=(a_time("a", 20.0), a_time("b", 10.0)))
    assert speed_ratio(a_spec("a"), a_spec("b"), evidence=evidence, precision="fp32").basis == "spec"


def test_a_benchmark_bound_by_the_links_is_not_held_against_pcie() -> None:
    evidence = some_evidence(mlperf=(a_time("a", 20.0, benchmark="bert"), a_time("b", 5.0, benchmark="bert")))
    assert mlperf_log_ratios(evidence, a_spec("a", form_factor="PCIe"), a_spec("b")) == ()
    assert len(mlperf_log_ratios(evidence, a_spec("a"), a_spec("b"))) == 1


def test_a_submission_far_from_any_spec_is_left_out() -> None:
    evidence = some_evidence(mlperf=(a_time("a", 20.0), a_time("b", 1.0)))
    assert speed_ratio(a_spec("a"), a_spec("b"), evidence=evidence).basis == "spec"


def test_a_gpu_that_only_mlperf_knows_is_reached_by_way_of_a_third() -> None:
    evidence = some_evidence(*some_rows("a", 1.0), *some_rows("b", 2.0), mlperf=(a_time("b", 20.0), a_time("c", 10.0)))
    found = speed_ratio(a_spec("a"), a_spec("c"), evidence=evidence)
    assert found.basis == "mlperf"
    assert found.ratio.point == pytest.approx(4.0)
    assert "by way of B" in found.detail


def test_specs_are_blended_by_the_models_exponents() -> None:
    model = RatioModel(blends={("fp16", "any"): SpecBlend(compute=0.5, plain=0.0, bandwidth=0.5)})
    offer = a_spec("b", fp16_tflops=640.0, memory_bandwidth_gb_per_s=4000.0)
    found = speed_ratio(a_spec("a"), offer, evidence=some_evidence(model=model))
    assert (found.basis, found.ratio.point) == ("spec", pytest.approx(4.0))


def test_a_missing_spec_hands_its_weight_to_the_others() -> None:
    offer = a_spec("b", memory_bandwidth_gb_per_s=None, fp16_tflops=320.0)
    found = speed_ratio(a_spec("a"), offer, evidence=some_evidence())
    assert found.ratio.point == pytest.approx(2.0)
    nothing = a_spec("b", memory_bandwidth_gb_per_s=None, fp16_tflops=None, tf32_tflops=None, fp32_tflops=None)
    with pytest.raises(InvalidInputError, match="speed_ratios="):
        speed_ratio(a_spec("a"), nothing, evidence=some_evidence())


def test_a_measured_gpu_carries_its_distance_from_its_specs() -> None:
    evidence = some_evidence(*some_rows("a", 1.0), *some_rows("b", 0.5))
    # By specs the two are alike; b was measured at half the speed, so each is off by a factor of the root of 2.
    offsets = [gpu_offset(a_spec(each), evidence, "fp16", None).log_offset for each in ("a", "b")]
    assert offsets == pytest.approx([math.log(2.0) / 2.0, -math.log(2.0) / 2.0])
    assert speed_ratio(a_spec("c"), a_spec("b"), evidence=evidence).ratio.point < 1.0


def test_a_gpu_of_another_maker_that_nobody_measured_has_a_wide_range_and_a_caveat() -> None:
    evidence = some_evidence(*some_rows("a", 1.0), *some_rows("b", 1.0))
    kin, foreign = a_spec("c"), a_spec("d", vendor="AMD")
    found = speed_ratio(a_spec("a"), foreign, evidence=evidence)
    assert found.ratio.log_half_width > speed_ratio(a_spec("a"), kin, evidence=evidence).ratio.log_half_width
    assert [caveat.code for caveat in found.caveats] == ["specs-across-makers"]


def test_matrix_rates_are_those_of_the_precision() -> None:
    spec = a_spec("a", fp16_nontensor_tflops=40.0)
    assert [compute_tflops(spec, each) for each in ("fp16", "bf16", "tf32", "fp32")] == [160.0, 160.0, 80.0, 20.0]
    old = a_spec("a", fp16_tflops=None, tf32_tflops=None, fp16_nontensor_tflops=0.3)
    assert compute_tflops(old, "fp16") == 20.0
    assert compute_tflops(old, "tf32") == 20.0


def test_a_probed_machine_gets_a_ratio_that_scales_with_what_was_probed() -> None:
    def probe(tflops: float) -> ProbeResult:
        return ProbeResult(
            device_name="laptop",
            matmul_tflops=Interval.from_log_width(tflops, 0.1),
            copy_gb_per_s=Interval.from_log_width(20.0, 0.1),
        )

    slow, fast = (speed_ratio(probe(tflops), H100, evidence=KNOWN, precision="fp32") for tflops in (0.1, 0.2))
    assert slow.basis == "spec"
    assert slow.ratio.point > fast.ratio.point > 10.0
    assert slow.ratio.log_half_width > math.log(2.0)
    assert "laptop" in slow.detail


def test_full_precision_rests_on_runs_that_had_no_tf32() -> None:
    # All published FP32 of Ampere and later is TF32: it says nothing of a training that forbids it.
    assert speed_ratio(H100, H200, evidence=KNOWN, precision="tf32").basis == "throughput"
    assert speed_ratio(H100, H200, evidence=KNOWN, precision="fp32").basis == "spec"
    v100, turing = SPECS["nvidia-v100-sxm2-32gb"], SPECS["nvidia-geforce-rtx-2080-ti"]
    assert speed_ratio(v100, turing, evidence=KNOWN, precision="fp32").basis == "throughput"


@pytest.mark.parametrize(
    ("home", "offer", "measured"),
    [
        # NeuSight's labels, FP32 without TF32, BERT-large and GPT-2 large.
        ("nvidia-v100-pcie-32gb", "nvidia-a100-pcie-80gb", (1.17, 1.10)),
        ("nvidia-l4", "nvidia-a100-pcie-40gb", (1.78,)),
        ("nvidia-a100-pcie-40gb", "nvidia-h100-sxm5-80gb", (3.04, 2.67)),
    ],
)
def test_what_forbids_tf32_gains_less_than_what_uses_it(home: str, offer: str, measured: tuple[float, ...]) -> None:
    forbids = speed_ratio(SPECS[home], SPECS[offer], evidence=KNOWN, precision="fp32", model_kind="transformer")
    assert all(forbids.ratio.contains(each) for each in measured)
    if SPECS[home].tf32_tflops is None:
        uses = speed_ratio(SPECS[home], SPECS[offer], evidence=KNOWN, precision="tf32", model_kind="transformer")
        assert uses.ratio.point > 1.5 * forbids.ratio.point


def test_a_faster_card_of_today_is_told_faster() -> None:
    ada, blackwell = SPECS["nvidia-geforce-rtx-4090"], SPECS["nvidia-geforce-rtx-5090"]
    for kind, measured in (("convolutional", (1.19, 1.22, 1.39)), ("transformer", (1.38, 1.92))):
        told = speed_ratio(ada, blackwell, evidence=KNOWN, model_kind=kind).ratio
        assert told.point > 1.1
        assert all(told.contains(each) for each in measured)
        # So renting an H100 gains less from it than from the older card.
        from_old, from_new = (speed_ratio(home, H100, evidence=KNOWN, model_kind=kind) for home in (ada, blackwell))
        assert from_new.ratio.point < from_old.ratio.point


@pytest.mark.parametrize(
    ("home", "offer"),
    [("nvidia-geforce-rtx-4070", "nvidia-geforce-rtx-5070"), ("nvidia-geforce-rtx-4080", "nvidia-geforce-rtx-5080")],
)
def test_a_card_nobody_measured_takes_after_its_kin_and_not_after_a_namesake(home: str, offer: str) -> None:
    for kind in ("convolutional", "transformer"):
        assert speed_ratio(SPECS[home], SPECS[offer], evidence=KNOWN, model_kind=kind).ratio.point > 1.05


def test_kin_is_told_by_compute_capability() -> None:
    kind = {gpu_id: kind_of(SPECS[gpu_id]) for gpu_id in SPECS}
    assert (
        kind["nvidia-geforce-rtx-5070"] == kind["nvidia-rtx-pro-6000-blackwell-server-edition"] == kind["nvidia-gb10"]
    )
    assert kind["nvidia-geforce-rtx-5070"] != kind["nvidia-b200-sxm-180gb"] == kind["nvidia-b300-sxm-270gb"]
    assert kind["nvidia-a100-sxm4-80gb"] != kind["nvidia-geforce-rtx-3090"] == kind["nvidia-a40"]
    assert kind["amd-instinct-mi300x"] == "CDNA 3"


def test_eight_boards_on_pcie_set_no_offset_of_one() -> None:
    boards = {
        name: a_spec(name, form_factor=form, compute_capability="12.0")
        for name, form in (("linked", "SXM"), ("pcie", "PCIe"), ("other", "SXM"))
    }
    minutes = {"linked": 10.0, "pcie": 16.0, "other": 8.0}
    mlperf = tuple(
        MlperfRow(round="v5", benchmark="resnet", gpu_id=name, accelerator_count=8, minutes=minutes[name])
        for name in boards
    )
    evidence = RatioEvidence(mlperf=mlperf, specs=tuple(boards.values()))
    assert gpu_offset(boards["other"], evidence, "fp16", "convolution").known_by == "measured"
    assert gpu_offset(boards["pcie"], evidence, "fp16", "convolution").known_by != "measured"


def test_a_matrix_rate_that_nobody_states_is_unknown_and_said() -> None:
    bare = {"vendor": "NVIDIA", "fp16_tflops": None, "bf16_tflops": None, "fp16_nontensor_tflops": 10.0}
    known, unknown = a_spec("known"), a_spec("unknown", **bare, compute_capability="8.7")
    without = a_spec("without", **bare, compute_capability="6.1")
    assert compute_tflops(unknown, "fp16") is None
    assert compute_tflops(without, "fp16") == 20.0
    told, sure = (speed_ratio(each, known, evidence=RatioEvidence(specs=(each, known))) for each in (unknown, without))
    assert [caveat.code for caveat in told.caveats] == ["matrix-rate-unknown"]
    assert sure.caveats == ()
    assert told.ratio.log_half_width > sure.ratio.log_half_width
    # The plain rate is no sign of what a training there does: the other rates are.
    assert told.ratio.point < sure.ratio.point


@pytest.mark.parametrize("gpu_id", ["nvidia-geforce-gtx-1650", "nvidia-geforce-gtx-1080-ti", "amd-instinct-mi25"])
def test_a_gpu_without_matrix_units_has_no_unknown_rate(gpu_id: str) -> None:
    assert not is_matrix_rate_unknown(SPECS[gpu_id], "fp16")


def test_several_gpus_are_faster_than_one_but_not_by_more_than_their_number() -> None:
    for offer in (H100, SPECS["nvidia-l40s"]):
        one = speed_ratio(H200, offer, evidence=KNOWN).ratio.point
        for count in (2, 4, 8):
            several = speed_ratio(H200, offer, evidence=KNOWN, gpu_count=count)
            assert 0.7 * count < several.ratio.point / one <= count
            assert "larger-batch" in [each.code for each in several.caveats]
    with pytest.raises(InvalidInputError, match="choose 1 or 2 or 4 or 8"):
        gpu_scaling(H100, 16, KNOWN, "fp16")


def test_to_choose_a_task_is_never_less_sure_than_to_know_its_kind() -> None:
    for offer in (H200, B200):
        chosen = speed_ratio(H100, offer, evidence=KNOWN, task="bert_base_squad").ratio.log_half_width
        kind = speed_ratio(H100, offer, evidence=KNOWN, model_kind="transformer").ratio.log_half_width
        anything = speed_ratio(H100, offer, evidence=KNOWN).ratio.log_half_width
        assert chosen <= kind < anything


@pytest.mark.parametrize("group", [None, "convolution", "matrix"])
def test_the_range_holds_a_new_workload_nineteen_times_in_twenty(group: str | None) -> None:
    model = TaskModel(group_variance=2.0, noise=(("tacotron2", 5.0),), base=0.15)
    tasks = (*TASKS, "tacotron2")
    groups = [group_of_task(task) for task in tasks]
    own = np.sqrt([model.noise_of(task) for task in tasks])
    draw = np.random.default_rng(3)
    held = []
    for _ in range(4000):
        # The scale varies as its prior says it does.
        scale = model.base * math.sqrt(model.prior_weight / draw.chisquare(model.prior_weight))
        shared = {name: draw.normal(0.0, scale * math.sqrt(2.0)) for name in (*sorted(set(groups)), "new")}
        logs = [shared[name] + scale * sd * draw.normal() for name, sd in zip(groups, own, strict=True)]
        truth = shared[group or "new"] + scale * draw.normal()
        found = [LogRatio(task=task, log_ratio=log, within="v2") for task, log in zip(tasks, logs, strict=True)]
        guess = predict_new_workload(found, model, group=group)
        held.append(abs(truth - guess.log_ratio) <= guess.log_half_width())
    assert 0.94 <= np.mean(held) <= 0.96


def test_the_constants_come_from_a_table_that_says_where_from() -> None:
    model = read_ratio_model()
    assert model.tasks_at("bf16") == model.tasks["fp16"]
    assert model.blend_at("tf32", "matrix") == model.blends["tf32", "matrix"]
    assert model.blend_at("fp32", "matrix") == model.blends["fp32", "matrix"]
    assert model.blend_at("fp16", "tacotron2") == model.blends["fp16", "any"]
    assert model.device_log_half_width == pytest.approx(math.log(1.08), rel=1e-3)
    assert dataclasses.replace(model, tasks={}).tasks_at("fp16") == TaskModel()


def test_the_originals_method_adds_two_ratios_of_specs_where_home_has_no_published_throughput() -> None:
    home = SPECS["nvidia-geforce-rtx-3060-12-gb"]
    told = speed_ratio(home, H100, evidence=KNOWN, by_original=True)
    # RTX 3060: 25.5 TFLOPS with FP32 accumulation, 360 GB/s; H100 SXM: 989.4 TFLOPS, 3,350 GB/s.
    assert told.ratio.point == pytest.approx(0.7 * 989.4 / 25.5 + 0.3 * 3350.0 / 360.0, rel=0.01)
    assert told.basis == "spec"
    own = speed_ratio(home, H100, evidence=KNOWN)
    assert told.ratio.log_half_width == pytest.approx(own.ratio.log_half_width)
    assert told.ratio.point != pytest.approx(own.ratio.point, rel=0.05)


def test_the_originals_method_takes_published_throughput_where_there_is_some() -> None:
    home = SPECS["nvidia-geforce-rtx-3090"]
    assert speed_ratio(home, H100, evidence=KNOWN, by_original=True) == speed_ratio(home, H100, evidence=KNOWN)
