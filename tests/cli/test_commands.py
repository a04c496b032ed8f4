"""The commands as a user runs them: the demo from an empty directory, the doctor, and how errors read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from greenlove_mlflow.cli import doctor, main
from greenlove_mlflow.cli.demo import SAMPLE
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.tables import read_price_sheet

ROOT = Path(__file__).resolve().parents[2]
GREENLOVE = Path(sys.executable).parent / "greenlove"

# The demo takes a while, and both of two processes would run it.
pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.slow]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_demo(folder, "--epochs", "4").stdout


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "COLUMNS": "160", "TZ": "UTC"}
    done = subprocess.run(
        [str(GREENLOVE), "demo", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_demo_prints_promise_and_outcome_and_offers_no_rent_for_seconds(demo: tuple[Path, str]) -> None:
    _, printed = demo
    assert "too small to rent a GPU for" in " ".join(printed.split())
    assert "estimated" in printed
    assert "actual" in printed


def test_the_demo_records_one_finished_run_in_the_default_store(demo: tuple[Path, str]) -> None:
    from mlflow import MlflowClient

    folder, printed = demo
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs(["0"])
    assert [run.info.status for run in runs] == ["FINISHED"]
    run = runs[0]
    assert run.info.run_id in printed
    assert len(client.get_metric_history(run.info.run_id, "green/train/epoch_s")) == 4
    assert len(run.outputs.model_outputs) == 1
    assert run.data.tags["greenlove.status"] == "finished"


def test_nothing_is_left_waiting_after_the_demo(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    assert list((folder / "state").rglob("*.jsonl")) == []


def test_the_demo_as_json_keeps_its_words_off_the_output(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--epochs", "1", "--json")
    found = json.loads(done.stdout)
    assert found["estimate"]["workload"]["epoch_count"] == 1
    assert len(found["outcome"]["epoch_durations_s"]) == 1
    assert found["run_id"] in done.stderr
    assert {row["offer"]["gpu"] for row in found["comparison"]["rows"]} == {o.gpu for o in read_price_sheet().offers}


def test_the_doctor_names_a_source_for_everything(store: str) -> None:
    done = CliRunner().invoke(main, ["doctor", "--json"], env={"TZ": "Europe/Paris"})
    assert done.exit_code == 0, done.output
    findings = json.loads(done.stdout)
    assert set(findings) == {"machine", "power", "place", "tables", "mlflow"}
    assert findings["place"]["place"].startswith("France")
    assert "time-zone" in findings["place"]["place"]
    assert "crusoe_prices" in findings["tables"]
    assert "sqlite" in json.dumps(findings["mlflow"])


def test_the_doctor_never_shows_the_key(store: str) -> None:
    done = CliRunner().invoke(main, ["doctor", "--all"], env={"ELECTRICITY_MAPS_API_KEY": "hush-hush"})
    assert done.exit_code == 0, done.output
    assert "is set" in done.output
    assert "hush" not in done.output


def states(*arguments: str, **environ: str) -> dict[str, str]:
    done = CliRunner().invoke(main, ["doctor", *arguments], env=environ)
    assert done.exit_code == 0, done.output
    rows = [line.split(None, 2) for line in done.output.splitlines() if line and line[0].isupper()]
    return {row[0]: f"{row[1]} {row[2]}" for row in rows}


@pytest.mark.parametrize(("is_off", "said"), [(True, "off"), (False, "MLFLOW_DISABLE_TELEMETRY=true turns it off")])
def test_the_doctor_says_whether_mlflow_reports_its_use(
    store: str, monkeypatch: pytest.MonkeyPatch, is_off: bool, said: str
) -> None:
    # MLflow itself is silent while it is tested.
    monkeypatch.setattr("mlflow.telemetry.utils.is_telemetry_disabled", lambda: is_off)
    done = CliRunner().invoke(main, ["doctor", "--all"])
    (line,) = [each for each in done.output.splitlines() if "MLflow telemetry" in each]
    assert said in line


def test_the_doctor_says_a_line_an_area_and_what_to_do(store: str) -> None:
    found = states(TZ="UTC")
    assert set(found) == {"Machine", "Power", "Place", "Tables", "MLflow"}
    assert {line.split()[0] for line in found.values()} <= {"ok", "assumed", "missing"}
    assert found["Place"].startswith("assumed world average")
    assert states(GREENLOVE_PLACE="DE")["Place"].startswith("ok Germany")


def test_what_the_doctor_calls_missing_is_what_stops_an_estimate_or_a_record() -> None:
    judged = doctor.judge("mlflow", {"MLflow store": "http://host, does not answer: runs would be offline"})
    assert judged.state == "missing"
    assert "MLFLOW_TRACKING_URI" in judged.words
    waiting = {"MLflow store": "sqlite:///x.db", "spool": "/state, 2 wait for `greenlove recover`"}
    assert doctor.judge("mlflow", waiting).state == "assumed"
    assert doctor.judge("power", {}).state == "missing"
    metered = {"gpu_0": "300.0 W, counter: board", "cpu": "9.0 W, modelled: by name", "gpu_0 clock": "1980"}
    assert doctor.judge("power", metered).state == "ok"
    assert doctor.judge("power", {"cpu": "9.0 W, modelled: by name"}).state == "assumed"
    assert doctor.judge("place", {"place": "Nowhere, by named"}).state == "missing"
    known = {"grid": "458 g/kWh", "electricity": "$0.15 per kWh"}
    assert doctor.judge("place", {"place": "world average, by world", **known}).words.startswith(
        "world average, as no place is known"
    )
    by_time = doctor.judge("place", {"place": "Germany, by time-zone", **known})
    assert by_time.words.startswith("Germany, by the time zone; ")
    old = {"crusoe_prices": "2026-01-01 (1 version), 400 days old, older than it should be, 3 rows, Crusoe"}
    assert doctor.judge("tables", old).state == "assumed"


def all_groups(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group by the words that call it."""
    yield path, group
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from all_groups(found, (*path, name))
        else:
            yield (*path, name), found


@pytest.mark.parametrize(("words", "found"), list(all_groups(main)), ids=lambda each: str(each)[:40])
def test_every_help_is_whole_at_eighty_columns(words: tuple[str, ...], found: click.Command) -> None:
    done = CliRunner().invoke(main, [*words, "--help"], env={"COLUMNS": "80"}, terminal_width=80)
    assert done.exit_code == 0, done.output
    if isinstance(found, click.Group):
        listed = done.output.split("Commands:\n")[1].rstrip("\n").split("\n")
        assert [line.split()[0] for line in listed] == found.list_commands(click.Context(found))
        assert not any(line.endswith("...") for line in listed)


def test_a_shell_shows_the_line_of_the_list_beside_a_completion() -> None:
    listed = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    context = click.Context(main)
    found = {name: main.get_command(context, name) for name in main.list_commands(context)}
    shown = {name: command.get_short_help_str() for name, command in found.items() if command is not None}
    assert shown.keys() == found.keys()
    assert [name for name, words in shown.items() if words not in listed] == []


def test_the_list_of_commands_imports_none_of_them() -> None:
    script = (
        "import sys\nfrom greenlove_mlflow.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = ('torch', 'mlflow', 'numpy', 'pandas', 'rich', 'requests', 'greenlove_mlflow.cli.')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_error_of_ours_is_one_line_and_exit_code_1() -> None:
    done = CliRunner().invoke(main, ["tables", "show", "no_such_table"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert "Traceback" not in done.output


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["fly"]).exit_code == 2


def test_the_recorded_sample_is_a_record_and_says_that_it_is_not_this_machine(demo: tuple[Path, str]) -> None:
    sample = json.loads(SAMPLE.read_text("utf-8"))
    records = pd.read_parquet(ROOT / sample["source"])
    for column in ("board", "workload", "measured_at"):
        records = records[records[column] == sample[column]]
    record = records[records["kind"] == "profile"].iloc[0]
    facts = RunFacts.from_json(json.dumps(sample["facts"]))
    assert facts.profile is not None
    assert (facts.profile.host_s, facts.power[0].power_w) == pytest.approx((record.host_s, record.board_w))
    _, printed = demo
    before, shown = printed.split("RECORDED SAMPLE, NOT THIS MACHINE", 1)
    assert "H200" not in before
    assert f"a step timed on an {sample['board']}" in shown
    assert sample["measured_at"] in shown
    assert shown.split("-" * 80)[1].strip().startswith("Recorded on NVIDIA H200")
    assert "Training on" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
