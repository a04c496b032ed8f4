"""The original's estimator: its signature, its Quick Start, and every parameter of its table."""

from __future__ import annotations

import inspect
import math
import time
import webbrowser
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from greenlove_mlflow.benchmark.machine import probe
from greenlove_mlflow.compat import BenchmarkResults, CrusoeEstimator, GreenLoveEstimator
from greenlove_mlflow.compat import estimator as estimator_module
from greenlove_mlflow.core.interval import NORMAL_QUANTILE_95, Interval
from greenlove_mlflow.core.speed.gpus import ProbeResult
from greenlove_mlflow.errors import InvalidInputError, UnknownGpuError, UnknownPlaceError
from greenlove_mlflow.pipeline import ground
from tests.support.spy import Spy

# As the original's README has it.
QUICK_START = """
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset
from green_love import GreenLoveEstimator

# Your model, optimizer, criterion, and dataset
model = nn.Linear(784, 10).cuda()
optimizer = torch.optim.Adam(model.parameters())
criterion = nn.CrossEntropyLoss()

dataset = TensorDataset(torch.randn(10000, 784), torch.randint(0, 10, (10000,)))

# Create estimator — pass model, optimizer, criterion, and dataset
estimator = GreenLoveEstimator(
    model=model,
    optimizer=optimizer,
    criterion=criterion,
    train_dataset=dataset,
    total_epochs=100,
    batch_size=64,
)

# Run estimation — automatically benchmarks at multiple sample sizes,
# generates an HTML report, and prompts whether to continue
results = estimator.estimate()

# If user chose to continue training locally
if estimator.user_chose_continue:
    loader = DataLoader(dataset, batch_size=64, shuffle=True)
    for epoch in range(100):
        model.train()
        for x, y in loader:
            x, y = x.cuda(), y.cuda()
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

estimator.cleanup()
"""
DEFAULTS = {
    "model": inspect.Parameter.empty,
    "optimizer": inspect.Parameter.empty,
    "criterion": inspect.Parameter.empty,
    "train_dataset": inspect.Parameter.empty,
    "total_epochs": inspect.Parameter.empty,
    "batch_size": 64,
    "device": None,
    "train_step": None,
    "exploration_epochs": 30,
    "warmup_epochs": 3,
    "target_benchmark_time": 10.0,
    "initial_sample_size": 1000,
    "single_epoch_budget": 0.3,
    "country_code": None,
    "carbon_intensity": None,
    "electricity_price": None,
    "electricity_maps_api_key": None,
    "gpu_name": None,
    "gpu_index": 0,
    "manual_tdp_watts": None,
    "manual_gpu_utilization": 0.70,
    "benchmark_task": None,
    "precision": "fp16",
    "custom_speedup": None,
    "report_dir": "./crusoe_reports",
    "auto_open_report": False,
    "power_poll_interval": 1.0,
}
STEP_S = 0.05


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A machine on which every optimizer step takes 50 ms and nothing else takes any time."""
    now = [1000.0]
    real_step = torch.optim.Adam.step

    def step(self: Any, *arguments: Any, **named: Any) -> Any:
        now[0] += STEP_S
        return real_step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    # A probe times real products, which take no time on this machine.
    monkeypatch.setattr(probe, "probe_hardware", probe_nothing)
    return now


def probe_nothing(device: Any, precision: str, **named: Any) -> ProbeResult:
    tflops = {"fp32": 0.1, "fp16": 0.001}[precision]
    return ProbeResult(
        device_name="Test CPU",
        matmul_tflops=Interval.from_log_width(tflops, 0.1),
        copy_gb_per_s=Interval.from_log_width(10.0, 0.1),
    )


def make_estimator(folder: Path, **over: Any) -> GreenLoveEstimator:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    fields = {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters()),
        "criterion": torch.nn.CrossEntropyLoss(),
        "train_dataset": torch.utils.data.TensorDataset(torch.randn(400, 4), torch.randint(0, 2, (400,))),
        "total_epochs": 20,
        "batch_size": 50,
        "exploration_epochs": 5,
        "country_code": "DE",
        "report_dir": folder / "reports",
    }
    return GreenLoveEstimator(**{**fields, **over})


def offer(results: BenchmarkResults, name: str) -> Any:
    return next(each for each in results.crusoe_estimates if each.name == name)


def codes(results: BenchmarkResults) -> set[str]:
    return {caveat.code for caveat in results.caveats}


# --- the door ----------------------------------------------------------------------------------------------------


def test_the_signature_is_the_originals() -> None:
    signature = inspect.signature(GreenLoveEstimator)
    assert {name: parameter.default for name, parameter in signature.parameters.items()} == DEFAULTS
    assert list(signature.parameters) == list(DEFAULTS)
    assert CrusoeEstimator is GreenLoveEstimator


def test_the_quick_start_runs_after_changing_one_import(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = QUICK_START.replace("from green_love import", "from greenlove_mlflow.compat import").replace(".cuda()", "")
    # The user's own training need not go on for all its epochs here.
    text = text.replace("range(100)", "range(2)")
    names: dict[str, Any] = {}
    begun_s = clock[0]
    exec(text, names)
    results = names["results"]
    assert names["estimator"].user_chose_continue
    assert names["epoch"] == 1
    assert results is names["estimator"].results
    # 157 steps an epoch, of 50 ms each, and nothing else.
    assert results.est_total_time_s == pytest.approx(100 * 157 * STEP_S, rel=0.25)
    assert clock[0] - begun_s - 2 * 157 * STEP_S <= 90.0 + STEP_S
    (page,) = (tmp_path / "crusoe_reports").iterdir()
    assert page == results.report_path.resolve() or page.samefile(results.report_path)
    assert "<html" in page.read_text(encoding="utf-8")
    assert {each.name for each in results.crusoe_estimates} >= {"H100 HGX 80GB", "A100 SXM 80GB", "L40S 48GB"}
    assert not (tmp_path / "mlruns").exists()
    assert not list(tmp_path.glob("*.db"))


def test_the_interval_is_the_originals(clock: list[float], tmp_path: Path) -> None:
    results = make_estimator(tmp_path).estimate()
    half_s = NORMAL_QUANTILE_95 * math.sqrt(results.total_epochs) * results.steady_epoch_std
    e1, e2, e3 = results.warmup_epoch_estimates
    total_s = e1 + e2 + e3 + (results.total_epochs - 3) * results.steady_epoch_estimate
    assert results.est_total_time_s == pytest.approx(total_s)
    assert results.est_total_time_upper_s == pytest.approx(total_s + half_s, rel=1e-3)
    assert results.est_total_time_lower_s == pytest.approx(total_s - half_s, rel=1e-3)


def test_the_model_is_left_as_it_was(clock: list[float], tmp_path: Path) -> None:
    model = torch.nn.Linear(4, 2).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    make_estimator(tmp_path, model=model, optimizer=torch.optim.Adam(model.parameters())).estimate()
    make_rng = torch.get_rng_state()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training
    # make_estimator seeds and draws before the benchmark; the benchmark itself must not.
    torch.set_rng_state(state)
    make_estimator(tmp_path, model=model, optimizer=torch.optim.Adam(model.parameters()))
    assert torch.equal(torch.get_rng_state(), make_rng)


def test_nothing_is_known_and_nobody_was_asked_before_it_ran(tmp_path: Path) -> None:
    estimator = make_estimator(tmp_path)
    assert estimator.results is None
    assert not estimator.user_chose_continue
    estimator.cleanup()
    assert not (tmp_path / "reports").exists()


# --- every parameter ---------------------------------------------------------------------------------------------


def test_exploration_follows_its_parameters(clock: list[float], tmp_path: Path) -> None:
    results = make_estimator(
        tmp_path, exploration_epochs=6, warmup_epochs=2, initial_sample_size=100, single_epoch_budget=0.25
    ).estimate()
    assert (results.benchmark_epochs, results.warmup_epochs, len(results.warmup_epoch_estimates)) == (6, 2, 2)
    assert {len(durations) for durations in results.sample_epoch_data.values()} == {6}
    # 100 samples are two steps, 0.1 s: two epochs fit into 0.25 s, so 200 is the representative size.
    explored = results.log.epochs_of("exploration")
    assert explored[0].sample_count == 100
    assert 200 in results.sample_sizes_used


def test_the_target_sets_the_representative_size(clock: list[float], tmp_path: Path) -> None:
    # All five epochs of 50 samples take 0.25 s and fit into 1 s: the size grows by 2 s over 0.25 s.
    results = make_estimator(
        tmp_path, initial_sample_size=50, single_epoch_budget=1.0, target_benchmark_time=2.0
    ).estimate()
    assert {record.sample_count for record in results.log.epochs_of("exploration")} <= {50, 400}
    assert 400 in results.sample_sizes_used


def test_a_train_step_replaces_the_default(clock: list[float], tmp_path: Path) -> None:
    calls = Spy()

    def train_step(model: Any, batch: Any, optimizer: Any, criterion: Any, device: Any) -> None:
        calls.put(len(batch[0]))
        optimizer.step()

    make_estimator(tmp_path, train_step=train_step, batch_size=20).estimate()
    assert max(calls.noted()) == 20


def test_place_and_prices_are_those_that_were_given(clock: list[float], tmp_path: Path) -> None:
    named = make_estimator(tmp_path).estimate()
    given = make_estimator(tmp_path, carbon_intensity=332, electricity_price=0.40).estimate()
    assert named.country_code == "DE"
    assert (given.carbon_intensity_gco2_kwh, given.electricity_price_kwh) == (332, 0.40)
    energy_kwh = given.est_total_energy_kwh
    assert energy_kwh is not None
    assert given.est_total_cost_usd == pytest.approx(energy_kwh * 0.40)
    assert given.est_total_co2_kg == pytest.approx(energy_kwh * 0.332)


def test_a_manual_tdp_stands_where_nothing_can_be_metered(clock: list[float], tmp_path: Path) -> None:
    results = make_estimator(tmp_path, manual_tdp_watts=350, manual_gpu_utilization=0.75).estimate()
    assert results.local.statistics is not None
    powers = {reading.device: reading for reading in results.local.statistics.power}
    assert (powers["cpu"].source, powers["cpu"].power_w) == ("given", 262.5)


def test_a_custom_speedup_is_taken_as_given(clock: list[float], tmp_path: Path) -> None:
    results = make_estimator(tmp_path, custom_speedup={"H100 HGX 80GB": 2.5}).estimate()
    h100 = offer(results, "H100 HGX 80GB")
    assert h100.speedup == 2.5
    assert h100.scale_note.startswith("given")
    assert h100.est_time_s == pytest.approx(results.est_total_time_s / 2.5)
    assert not offer(results, "A100 SXM 80GB").scale_note.startswith("given")


def test_a_named_gpu_and_task_choose_the_ratios(clock: list[float], tmp_path: Path) -> None:
    by_task = make_estimator(tmp_path, gpu_name="A100 SXM 80GB", benchmark_task="resnet50").estimate()
    by_mean = make_estimator(tmp_path, gpu_name="A100 SXM 80GB").estimate()
    assert by_task.benchmark_task == "resnet50"
    assert "resnet50" in offer(by_task, "H100 HGX 80GB").scale_note
    assert offer(by_mean, "A100 SXM 80GB").speedup == 1.0
    assert offer(by_task, "H100 HGX 80GB").speedup != offer(by_mean, "H100 HGX 80GB").speedup
    assert "time-measured-elsewhere" in codes(by_task)


def test_precision_chooses_the_published_benchmarks_and_says_so(clock: list[float], tmp_path: Path) -> None:
    half = make_estimator(tmp_path, gpu_name="A100 SXM 80GB").estimate()
    full = make_estimator(tmp_path, gpu_name="A100 SXM 80GB", precision="fp32").estimate()
    assert (half.precision, full.precision) == ("fp16", "fp32")
    assert "precision-assumed" in codes(half)
    assert "precision-assumed" not in codes(full)
    assert offer(half, "H100 HGX 80GB").speedup != offer(full, "H100 HGX 80GB").speedup


def test_a_cpu_is_compared_in_the_precision_it_computes_in(clock: list[float], tmp_path: Path) -> None:
    half, full = (make_estimator(tmp_path, precision=precision).estimate() for precision in ("fp16", "fp32"))
    assert "fp32" in offer(half, "H100 HGX 80GB").scale_note
    assert "fp32" in offer(full, "H100 HGX 80GB").scale_note
    assert "precision-assumed" not in codes(half)


def test_the_browser_opens_only_when_asked(clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    make_estimator(tmp_path).estimate()
    assert opened == []
    results = make_estimator(tmp_path, auto_open_report=True).estimate()
    assert opened == [results.report_path.resolve().as_uri()]


def test_meter_parameters_reach_the_meter(clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    real = ground.open_meter

    def open_meter(*arguments: Any, **named: Any) -> Any:
        seen.append(named)
        return real(*arguments, **named)

    monkeypatch.setattr(ground, "open_meter", open_meter)
    make_estimator(tmp_path, gpu_index=2, power_poll_interval=0.5).estimate()
    make_estimator(tmp_path).estimate()
    assert [(each["gpu_index"], each["poll_interval_s"]) for each in seen] == [(2, 0.5), (None, 1.0)]


def test_the_live_grid_is_asked_only_with_a_key(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import greenlove_mlflow.electricity_maps

    keys: list[str | None] = []

    def live_grid(grid: Any, *arguments: Any, **named: Any) -> Any:
        keys.append(named.get("key", arguments[0] if arguments else None))
        return grid, ()

    monkeypatch.setattr(greenlove_mlflow.electricity_maps, "live_grid", live_grid)
    monkeypatch.setenv("ELECTRICITY_MAPS_API_KEY", "from-outside")
    make_estimator(tmp_path).estimate()
    assert keys == []
    make_estimator(tmp_path, electricity_maps_api_key="k1").estimate()
    assert keys == ["k1"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"total_epochs": 0}, InvalidInputError),
        ({"batch_size": 0}, InvalidInputError),
        ({"precision": "int8"}, InvalidInputError),
        ({"benchmark_task": "minesweeper"}, InvalidInputError),
        ({"gpu_name": "GTX 9999"}, UnknownGpuError),
        ({"custom_speedup": {"H200 SUPER": 2.0}}, UnknownGpuError),
        ({"custom_speedup": {"H100 HGX 80GB": 0.0}}, InvalidInputError),
        ({"warmup_epochs": 5}, InvalidInputError),
        ({"exploration_epochs": 0}, InvalidInputError),
        ({"initial_sample_size": 0}, InvalidInputError),
        ({"single_epoch_budget": 0.0}, InvalidInputError),
        ({"target_benchmark_time": -1.0}, InvalidInputError),
        ({"electricity_price": -0.1}, InvalidInputError),
        ({"carbon_intensity": -5}, InvalidInputError),
        ({"manual_tdp_watts": 0.0}, InvalidInputError),
        ({"manual_gpu_utilization": 1.5}, InvalidInputError),
        ({"power_poll_interval": 0.0}, InvalidInputError),
        ({"device": "cuda"}, InvalidInputError),
        ({"optimizer": None}, InvalidInputError),
        ({"train_dataset": torch.utils.data.TensorDataset(torch.zeros(0, 4))}, InvalidInputError),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_runs(
    tmp_path: Path, wrong: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        make_estimator(tmp_path, **wrong)
    assert len(str(caught.value)) > 20
    assert not (tmp_path / "reports").exists()


def test_an_unknown_country_is_refused_before_anything_runs(clock: list[float], tmp_path: Path) -> None:
    before_s = clock[0]
    with pytest.raises(UnknownPlaceError):
        make_estimator(tmp_path, country_code="XX").estimate()
    assert clock[0] == before_s


def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(clock: list[float], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before_s = clock[0]
    with pytest.raises(InvalidInputError, match="report_dir"):
        make_estimator(tmp_path, report_dir=tmp_path / "file" / "reports").estimate()
    assert clock[0] == before_s


# --- the question ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [True, False])
def test_a_terminal_is_asked(clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    asked: list[str] = []

    def confirm(text: str, **named: Any) -> bool:
        asked.append(text)
        assert named["default"] is False
        return answer

    monkeypatch.setattr(estimator_module, "_has_terminal", lambda: True)
    monkeypatch.setattr(click, "confirm", confirm)
    estimator = make_estimator(tmp_path)
    estimator.estimate()
    assert asked == ["Continue training locally?"]
    assert estimator.user_chose_continue is answer


def test_nothing_is_printed_without_a_terminal(
    clock: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    estimator = make_estimator(tmp_path)
    estimator.estimate()
    assert estimator.user_chose_continue
    assert capsys.readouterr().out == ""
