"""Makes the sample reports and their screenshots in reports/samples.

    python reports/samples.py [demo] [cpu] [gpu] [experiment] [recorded] [screenshots]

- ``demo``: what ``greenlove demo`` prints, really run here;
- ``cpu_run``: the demo, really run here, its page made by ``greenlove report`` from what MLflow holds;
- ``gpu_run``: what a GPU training's page looks like; its measurements are made up, and the page says so;
- ``refused_run``: the same training, refused by a limit;
- ``experiment``: a few short trainings, really run here, on one page;
- ``recorded``: what ``greenlove demo`` shows of a training on a GPU, from a record of reports/silicon.parquet.

All of it takes about five minutes; on a busy machine the ranges of the real runs come out wider.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import greenlove_mlflow as greenlove  # noqa: E402 - the checkout's own tests are needed as well
from greenlove_mlflow.cli.demo import SAMPLE  # noqa: E402
from greenlove_mlflow.core.account.estimate import broken_limits, estimate_training  # noqa: E402
from greenlove_mlflow.core.account.outcome import settle_outcome  # noqa: E402
from greenlove_mlflow.core.account.run_facts import RunFacts  # noqa: E402
from greenlove_mlflow.core.interval import Interval  # noqa: E402
from greenlove_mlflow.core.provenance import Caveat  # noqa: E402
from greenlove_mlflow.core.records import (  # noqa: E402
    BenchmarkLog,
    BlockRecord,
    EpochRecord,
    Machine,
    PowerReading,
    PowerSample,
    StepProfile,
)
from greenlove_mlflow.core.speed.gpu_names import find_gpu  # noqa: E402
from greenlove_mlflow.core.timing.adaptive_fit import fit_log  # noqa: E402
from greenlove_mlflow.core.workload import Limits, Workload  # noqa: E402
from greenlove_mlflow.report import ReportContent, render_report  # noqa: E402
from greenlove_mlflow.tables import find_grid, read_default_pue, read_gpu_specs  # noqa: E402
from tests.support.browser import DESKTOP_PX, MOBILE_PX, Visit, a_browser, visiting  # noqa: E402

FOLDER = ROOT / "reports" / "samples"
GPU_SAMPLES, GPU_BATCH, GPU_STEPS, GPU_EPOCHS = 50_000, 256, 196, 90
EXPERIMENT = "digits"
PARTS = ["demo", "cpu", "gpu", "experiment", "recorded", "screenshots"]
# The record that the demo shows, and the plan that is made of it.
RECORDED = {"board": "NVIDIA H200", "workload": "BERT-base, 128 words, batch 64, bf16", "measured_at": "2026-11-27"}
RECORDED_PROFILE = ("loader_s", "fetch_s", "host_s", "device_busy_s", "launch_count")
RECORDED_SAMPLES, RECORDED_BATCH, RECORDED_EPOCHS, RECORDED_STEPS = 392_702, 64, 3, 120
# What the runs of the sample experiment differ in.
BATCH_SIZES, WIDTHS = (16, 32, 64), (128, 512)


def main(parts: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    if "gpu" in parts:
        (FOLDER / "gpu_run.html").write_text(render_report(gpu_content()), encoding="utf-8")
        (FOLDER / "refused_run.html").write_text(render_report(refused_content()), encoding="utf-8")
    if "recorded" in parts:
        SAMPLE.write_text(json.dumps(recorded_sample(), indent=1) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "XDG_STATE_HOME": folder}
        environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "GREENLOVE_PLACE": "DE"}
        if "cpu" in parts:
            demo = run_greenlove("demo", cwd=folder, environ=environ)
            run_id = demo.split("Recorded as run ")[1].split(".")[0].strip()
            run_greenlove("report", run_id, "-o", str(FOLDER / "cpu_run.html"), cwd=folder, environ=environ)
        if "demo" in parts:
            demo = run_greenlove("demo", cwd=folder, environ=environ)
            # The line with the run's own id and address says nothing to others.
            lines = [line for line in demo.splitlines() if not line.startswith(("Recorded as run", "To look at it:"))]
            (FOLDER / "demo.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if "experiment" in parts:
            subprocess.run([sys.executable, __file__, "train"], cwd=folder, env=environ, check=True)
            page = FOLDER / "experiment.html"
            run_greenlove("report", "--experiment", EXPERIMENT, "-o", str(page), cwd=folder, environ=environ)
    if "screenshots" in parts:
        take_screenshots()


def run_greenlove(*arguments: str, cwd: str, environ: dict[str, str]) -> str:
    command = [str(Path(sys.executable).parent / "greenlove"), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def train_experiment() -> None:
    """Track and run a few trainings that differ in batch size and width."""
    import mlflow
    import torch
    from torch import nn

    from greenlove_mlflow.cli.demo import load_digits_dataset, train_one_epoch

    mlflow.set_experiment(EXPERIMENT)
    dataset = load_digits_dataset()
    for batch_size in BATCH_SIZES:
        for width in WIDTHS:
            model = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
            optimizer = torch.optim.Adam(model.parameters())
            loader = torch.utils.data.DataLoader(dataset, batch_size=batch_size, shuffle=True)
            criterion = nn.CrossEntropyLoss()
            name = f"width {width}, batches of {batch_size}"
            with greenlove.track(model, optimizer, criterion, loader, epochs=60, run_name=name, budget_s=6.0) as run:
                for _ in run.epochs():
                    train_one_epoch(model, loader, optimizer, criterion)


def refused_content() -> ReportContent:
    """The same training, which a limit refused."""
    content = gpu_content()
    reasons = broken_limits(content.estimate, Limits(usd=0.05))
    return dataclasses.replace(content, status="refused", notice=f"Not run: {', '.join(reasons)}.", outcome=None)


def recorded_sample() -> dict[str, Any]:
    """A plan whose step was timed and metered on a real GPU; nothing of it was measured here."""
    import pandas as pd

    found = pd.read_parquet(ROOT / "reports" / "silicon.parquet")
    for column, value in {**RECORDED, "kind": "profile"}.items():
        found = found[found[column] == value]
    record = found.iloc[0]
    home = find_gpu(record.board, read_gpu_specs())
    machine = Machine(
        device="cuda:0", gpu_name=record.board, gpu_id=home.gpu_id, gpu_memory_gib=home.memory_gib,
        torch_version=record.torch, cpu_name=record.host_cpu, visible_cpu_count=16, host="recorded",
    )  # fmt: skip
    steps = {"first-contact": 5, "timed": RECORDED_STEPS}
    epochs = tuple(
        EpochRecord(
            epoch_index=index, phase=phase, sample_count=count * RECORDED_BATCH, step_count=count,
            duration_s=count * record.step_s, whole=False, start_s=10.0 * index, data_wait_s=0.0,
        )
        for index, (phase, count) in enumerate(steps.items())
    )  # fmt: skip
    power = PowerReading(
        device="gpu_0", power_w=record.board_w, log_half_width=0.1, source="sampled", window_s=6.0,
        energy_j=6.0 * record.board_w, note="recorded with the step",
    )  # fmt: skip
    per_epoch = math.ceil(RECORDED_SAMPLES / RECORDED_BATCH)
    log = BenchmarkLog(
        method="adaptive", machine=machine, sample_count=RECORDED_SAMPLES, batch_size=RECORDED_BATCH,
        steps_per_epoch=per_epoch, epochs=epochs, blocks=(), power=(power,), power_samples=(),
        started_at=f"{record.measured_at}T00:00:00+00:00", duration_s=9.0, stop_reason="precise", precision="bf16",
        model_kind="transformer",
    )  # fmt: skip
    workload = Workload(
        sample_count=RECORDED_SAMPLES, batch_size=RECORDED_BATCH, epoch_count=RECORDED_EPOCHS, steps_per_epoch=per_epoch
    )
    facts = RunFacts(
        machine=machine, workload=workload, fit=fit_log(log, workload), power=log.power, home=home, precision="bf16",
        pue=read_default_pue("local")[0], grid=find_grid(country="DE")[0], model_kind="transformer",
        profile=StepProfile(**{name: float(record[name]) for name in RECORDED_PROFILE}),
    )  # fmt: skip
    return {**RECORDED, "source": "reports/silicon.parquet", "facts": json.loads(facts.to_json())}


def gpu_content() -> ReportContent:
    """A ResNet-like training on an RTX 3090: made-up measurements in the shape that a real benchmark has."""
    log = gpu_log()
    workload = Workload(
        sample_count=GPU_SAMPLES, batch_size=GPU_BATCH, epoch_count=GPU_EPOCHS, steps_per_epoch=GPU_STEPS,
        validation_s=4.1,
    )  # fmt: skip
    grid, _ = find_grid(country="DE")
    message = "this page is a sample: its times and watts are made up, no GPU was measured; prices and grids are real"
    statistics = RunFacts(
        machine=log.machine,
        workload=workload,
        fit=fit_log(log, workload),
        power=log.power,
        pue=read_default_pue("local")[0],
        grid=grid,
        precision="fp16",
        model_kind="convolutional",
        peak_memory_gib=17.2,
        profile=StepProfile(loader_s=0.031, fetch_s=0.002, host_s=0.046, device_busy_s=0.179, launch_count=1253),
        home=find_gpu("NVIDIA GeForce RTX 3090", read_gpu_specs()),
        caveats=(Caveat(code="made-up-measurements", text=message),),
    )
    estimate = estimate_training(statistics)
    durations = tuple(drifted(estimate.time_s.point / GPU_EPOCHS, GPU_EPOCHS))
    forecasts = tuple(forecasts_of(estimate.time_s, durations))
    total_s = math.fsum(durations)
    energy_j = total_s * sum(reading.power_w for reading in log.power) * 1.015
    return ReportContent(
        estimate=estimate,
        comparison=greenlove.compare(estimate),
        log=log,
        run_name="sample with made-up measurements",
        status="finished",
        outcome=settle_outcome(
            estimate, epoch_durations_s=durations, time_s=total_s, energy_j=energy_j, forecasts_s=forecasts
        ),
        made_at="2026-11-24T12:00:00Z",
    )


def drifted(epoch_s: float, count: int) -> Iterator[float]:
    for index in range(count):
        yield epoch_s * (1.018 + 0.012 * math.sin(index / 9.0))


def forecasts_of(promised: Interval, durations: tuple[float, ...]) -> Iterator[Interval]:
    elapsed = 0.0
    for done, duration_s in enumerate(durations, start=1):
        elapsed += duration_s
        left = len(durations) - done
        point = elapsed + left * elapsed / done
        share = left / len(durations)
        yield Interval.from_log_width(point, max(1e-6, promised.log_half_width * share**0.7 * 0.8))


def gpu_log() -> BenchmarkLog:
    """First contact, a revisit, timed steps in blocks, three other sizes, and a counter beside samples."""
    step_s, epochs, blocks, at_s = 0.182, [], [], 0.0
    plan = [("first-contact", 5, 2.9), ("revisit", 5, 1.02), ("timed", 60, 1.0), ("scaling", 4, 1.03)]
    plan += [("scaling", 2, 1.05), ("scaling", 1, 1.2)]
    for index, (phase, steps, factor) in enumerate(plan):
        duration_s = steps * step_s * factor
        epochs.append(EpochRecord(
            epoch_index=index, phase=phase, sample_count=steps * GPU_BATCH, step_count=steps, duration_s=duration_s,
            whole=phase == "scaling", start_s=at_s, data_wait_s=duration_s * 0.04,
        ))  # fmt: skip
        if phase == "timed":
            for part in range(20):
                wobble = 1.0 + 0.012 * math.sin(2.3 * part) + 0.004 * math.cos(5.0 * part)
                blocks.append(BlockRecord(
                    epoch_index=index, phase="timed", start_s=at_s + part * 3 * step_s, step_count=3,
                    duration_s=3 * step_s * wobble, data_wait_s=0.02,
                ))  # fmt: skip
        at_s += duration_s + 0.05
    samples = [
        PowerSample(at_s=tick / 10.0, device="gpu_0", power_w=338.0 * (1.0 - 0.7 * math.exp(-tick / 12.0))
                    + 6.0 * math.sin(tick / 4.0))
        for tick in range(int(at_s * 10.0))
    ]  # fmt: skip
    gpu = PowerReading(
        device="gpu_0", power_w=336.0, log_half_width=0.1, source="counter", window_s=10.9, energy_j=3662.0,
        sampled_power_w=331.0, note="board counter over 10.9 s; samples agree to 1.5%",
    )  # fmt: skip
    cpu = PowerReading(
        device="cpu", power_w=41.0, log_half_width=0.49, source="modelled", note="65 W at full load x 63% of its cores"
    )
    machine = Machine(
        device="cuda:0", gpu_name="NVIDIA GeForce RTX 3090", gpu_id="rtx-3090", gpu_memory_gib=24.0,
        driver_version="570.86", cuda_version="12.8", torch_version="2.7.0", cpu_name="AMD Ryzen 9 5900X",
        visible_cpu_count=12, host="sample",
    )  # fmt: skip
    return BenchmarkLog(
        method="adaptive", machine=machine, sample_count=GPU_SAMPLES, batch_size=GPU_BATCH, steps_per_epoch=GPU_STEPS,
        epochs=tuple(epochs), blocks=tuple(blocks), power=(gpu, cpu), power_samples=tuple(samples),
        started_at="2026-11-24T11:58:00+00:00", duration_s=at_s, stop_reason="precise", peak_allocated_gib=15.9,
        peak_reserved_gib=17.2, first_contact_steps_s=(1.91, 0.2, 0.19, 0.18, 0.18), precision="fp16",
        model_kind="convolutional",
    )  # fmt: skip


def take_screenshots() -> None:
    """Every page whole, in light and dark, wide and narrow; and the first screen of a run for the README."""
    with a_browser() as browser:
        for page in sorted(FOLDER.glob("*.html")):
            name = page.stem
            for suffix, options in (("", {}), ("_dark", {"dark": True}), ("_360px", {"width": MOBILE_PX})):
                with visiting(browser, page, **options) as visit:  # type: ignore[arg-type]
                    keep_screenshot(visit, FOLDER / f"{name}{suffix}.png", whole=True)
        with visiting(browser, FOLDER / "gpu_run.html", width=DESKTOP_PX) as visit:
            keep_screenshot(visit, FOLDER / "first_screen.png", whole=False)
            for name, value in (("epochs", "300"), ("price", "0.12"), ("pue", "1.2")):
                visit.page.locator(f"#whatif [name={name}]").fill(value)
            visit.page.locator("#whatif [name=gpus]").select_option("4")
            visit.page.set_viewport_size({"width": DESKTOP_PX, "height": 1720})
            visit.page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
            keep_screenshot(visit, FOLDER / "what_if.png", whole=False)


def keep_screenshot(visit: Visit, path: Path, *, whole: bool) -> None:
    """A screenshot with 128 colours, which is enough for a page and a third of the size."""
    import io

    from PIL import Image

    visit.wait_for_charts()
    picture = Image.open(io.BytesIO(visit.page.screenshot(full_page=whole)))
    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    train_experiment() if sys.argv[1:] == ["train"] else main(sys.argv[1:] or PARTS)
