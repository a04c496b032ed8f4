"""Every loop and framework trained with and without greenlove, stopped, killed and resumed; written to loops.md.

    python reports/loops.py [form ...]

Each form trains 8 epochs of 60 steps: bare; tracked; tracked with a limit that it breaks; and once killed in its fifth
epoch by SIGKILL, and continued by another process. A form that is named is measured again, the others keep their rows.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "reports")]
OUTPUT, RAW = ROOT / "reports" / "loops.md", ROOT / "reports" / "loops.json"
TIMEOUT_S = 900

# What the table calls it, the module and function that run it, the packages whose versions count.
FORMS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "run_epochs": ("`run.epochs()`", "loops_own", "run_epochs", ()),
    "plain": ("plain form", "loops_own", "plain", ()),
    "within": ('`benchmark="within"`', "loops_own", "within", ()),
    "steps": ("`run.steps()`", "loops_own", "by_steps", ()),
    "watch": ("`watch`", "loops_own", "watch", ()),
    "autolog": ("`autolog`", "loops_own", "autolog", ()),
    "lightning": ("Lightning", "loops_frameworks", "lightning", ("lightning",)),
    "pytorch_lightning": ("`pytorch_lightning`", "loops_frameworks", "pytorch_lightning", ("pytorch-lightning",)),
    "huggingface": ("Hugging Face, `report_to` none", "loops_frameworks", "huggingface", ("transformers",)),
    "huggingface_mlflow": ("Hugging Face, mlflow", "loops_frameworks", "huggingface_mlflow", ("transformers",)),
    "trl": ("TRL's `SFTTrainer`", "loops_frameworks", "trl", ("trl",)),
    "keras": ("Keras on torch", "loops_frameworks", "keras", ("keras",)),
    "accelerate": ("Accelerate", "loops_own", "accelerate", ("accelerate",)),
    "runner": ("`EpochRunner`", "loops_own", "runner", ()),
    "sklearn": ("scikit-learn, `partial_fit`", "loops_own", "sklearn", ("scikit-learn",)),
}
# What a form cannot do, and why.
NOT_SUPPORTED = {
    ("autolog", "estimate"): "its end is not known",
    ("autolog", "limit"): "no end known, no limits",
    ("autolog", "resumed"): "a second training in a run gets a child",
}
# A lap of autolog is 1,000 steps: a training of 480 has none.
WITHOUT_LAPS = ("autolog",)

TEXT = """# Every loop and framework

Made by `python reports/loops.py` on {where}: 8 epochs of 60 steps each, trained bare, tracked, tracked with a
limit that the training breaks, and killed by SIGKILL in the fifth epoch and continued by another process. *Same*:
weights and metrics are those of the bare training, bit for bit. *Held*: the finished run holds estimate, laps and
outcome. *Limit*: after how many steps the broken limit ended the training. *Resumed*: the account is whole: the run has
finished, its laps are numbered from 0 to 7 without a gap or a double, and its time is that of all laps, within 5%.

| form | same | held | estimated, s | taken, s | inside | limit | resumed |
|---|---|---|---|---|---|---|---|
{rows}

{inside} of {counted} trainings ended inside the 95% range of their estimate. They last seconds on a machine shared
with other programs, so their ratios say little of longer ones: `accuracy.md` measures those.
{notes}"""


def child(form: str, folder: Path, *, is_killed: bool) -> None:
    """Run the parts of one form in this process and leave what was found in a file."""
    from loops_common import Part

    _, module, function, packages = FORMS[form]
    run = getattr(importlib.import_module(module), function)
    if is_killed:
        run(Part(folder=folder, is_killed=True))
        return
    bare, tracked = run(Part(folder=folder / "bare", is_tracked=False)), run(Part(folder=folder / "tracked"))
    found: dict[str, Any] = {
        "same": bare.weights == tracked.weights and bare.metrics == tracked.metrics and bool(bare.metrics),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        **account(tracked),
    }
    if (form, "limit") not in NOT_SUPPORTED:
        limited = run(Part(folder=folder / "limited", has_limit=True))
        found |= {"limited_steps": limited.step_count, "steps": bare.step_count}
    if (form, "resumed") not in NOT_SUPPORTED:
        run_id = (folder / "run_id").read_text(encoding="utf-8")
        run(Part(folder=folder, run_id=run_id))
        found["resumed"] = resumed(run_id)
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def laps_of(client: Any, run_id: str) -> list[tuple[int, float]]:
    names = ("green/train/epoch_s", "green/train/lap_s")
    return sorted((point.step, point.value) for name in names for point in client.get_metric_history(run_id, name))


def account(left: Any) -> dict[str, Any]:
    """What the run of a tracked training holds, and its estimate against what it took."""
    import mlflow

    run_id = left.run_id or left.run.run_id
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    found = {
        "status": run.info.status,
        "laps": len(laps_of(client, run_id)),
        "estimate_kept": "green/time_h/local" in run.data.metrics,
        "outcome_kept": "green/actual/time_h" in run.data.metrics,
        "actual_s": run.data.metrics.get("green/actual/time_h", 0.0) * 3600.0,
    }
    estimate = None if left.run is None else left.run.estimate
    if estimate is not None:
        found["estimate_s"] = [estimate.time_s.point, estimate.time_s.low, estimate.time_s.high]
    return found


def resumed(run_id: str) -> dict[str, Any]:
    """Whether the account of a killed and resumed training is whole."""
    import mlflow
    from loops_common import EPOCHS

    client = mlflow.MlflowClient()
    run, laps = client.get_run(run_id), laps_of(client, run_id)
    actual_s = run.data.metrics.get("green/actual/time_h", 0.0) * 3600.0
    laps_s = sum(value for _, value in laps)
    return {
        "status": run.info.status,
        "laps": [step for step, _ in laps],
        "time_over_laps": actual_s / laps_s if laps_s else None,
        "whole": run.info.status == "FINISHED"
        and [step for step, _ in laps] == list(range(EPOCHS))
        and 0.95 <= actual_s / laps_s <= 1.05,
    }


def measure(form: str) -> dict[str, Any]:
    """What a form's processes found, or why they failed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("bare", "tracked", "limited"):
            (folder / part).mkdir()
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "XDG_STATE_HOME": str(folder / "state"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
        }
        command = [sys.executable, __file__, "--folder", str(folder), "--child", form]
        options: dict[str, Any] = {"env": environment, "cwd": folder, "timeout": TIMEOUT_S}
        options |= {"capture_output": True, "text": True}
        killed = None
        if (form, "resumed") not in NOT_SUPPORTED:
            killed = subprocess.run([*command, "--killed"], check=False, **options)
            if killed.returncode != -signal.SIGKILL:
                print(killed.stderr[-4000:], file=sys.stderr)
                return {"failed": last_line(killed.stderr) or f"ended by {killed.returncode} before it was killed"}
        done = subprocess.run(command, check=False, **options)
        if done.returncode:
            print(done.stderr[-4000:], file=sys.stderr)
            return {"failed": last_line(done.stderr)}
        found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
        return found


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def row(form: str, found: dict[str, Any]) -> str:
    """One form's row of the table."""
    title, packages = FORMS[form][0], found.get("versions", {})
    if packages:
        title += f" {next(iter(packages.values()))}"
    if "failed" in found:
        return f"| {title} | failed: {found['failed'].replace('|', '/')} | | | | | | |"
    estimate = found.get("estimate_s")
    estimated = inside = limited = whole = ""
    if (form, "estimate") in NOT_SUPPORTED or not estimate:
        estimated = inside = f"not supported: {NOT_SUPPORTED.get((form, 'estimate'), 'none was made')}"
    else:
        estimated = f"{estimate[0]:.1f} ({estimate[1]:.1f} to {estimate[2]:.1f})"
        inside = "yes" if estimate[1] <= found["actual_s"] <= estimate[2] else "no"
    wants_estimate = (form, "estimate") not in NOT_SUPPORTED
    held = (found["estimate_kept"] or not wants_estimate) and found["outcome_kept"] and found["status"] == "FINISHED"
    held = held and (found["laps"] > 0 or form in WITHOUT_LAPS)
    holds = f"{yes(held)}, {found['laps']} laps" if found["laps"] else f"{yes(held)}, a lap is 1,000 steps"
    if (form, "limit") in NOT_SUPPORTED:
        limited = f"not supported: {NOT_SUPPORTED[form, 'limit']}"
    else:
        kept = found["limited_steps"] < found["steps"]
        limited = f"{found['limited_steps']} of {found['steps']} steps" if kept else "no"
    if (form, "resumed") in NOT_SUPPORTED:
        whole = f"not supported: {NOT_SUPPORTED[form, 'resumed']}"
    else:
        whole = yes(found["resumed"]["whole"])
    cells = (title, yes(found["same"]), holds, estimated, f"{found['actual_s']:.1f}", inside, limited, whole)
    return f"| {' | '.join(cells)} |"


def yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def render(results: dict[str, Any], where: str) -> str:
    known = {form: results[form] for form in FORMS if form in results}
    counted = [each for each in known.values() if each.get("estimate_s")]
    inside = sum(each["estimate_s"][1] <= each["actual_s"] <= each["estimate_s"][2] for each in counted)
    rows = "\n".join(row(form, found) for form, found in known.items())
    broken = [
        f"- {FORMS[form][0]}, resumed: run {found['resumed']['status']}, laps {found['resumed']['laps']}, time over "
        f"laps {found['resumed']['time_over_laps'] or 0.0:.3f}"
        for form, found in known.items()
        if "resumed" in found and not found["resumed"]["whole"]
    ]
    notes = "\n".join(["", "## Not whole", "", *broken, ""]) if broken else ""
    return TEXT.format(where=where, rows=rows, inside=inside, counted=len(counted), notes=notes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("forms", nargs="*", choices=[*FORMS, []], help="all when none is named")
    parser.add_argument("--child")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--killed", action="store_true")
    given = parser.parse_args()
    if given.child:
        child(given.child, given.folder, is_killed=given.killed)
        return 0
    results = json.loads(RAW.read_text(encoding="utf-8")) if given.forms and RAW.exists() else {}
    for form in given.forms or FORMS:
        began_s = time.perf_counter()
        results[form] = measure(form)
        print(f"{form}: {time.perf_counter() - began_s:.0f} s {json.dumps(results[form])}", flush=True)
        RAW.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    import torch

    where = f"{os.cpu_count()} CPUs, PyTorch {torch.__version__}, one thread"
    OUTPUT.write_text(render(results, where), encoding="utf-8")
    return any("failed" in each for each in results.values())


if __name__ == "__main__":
    sys.exit(main())
