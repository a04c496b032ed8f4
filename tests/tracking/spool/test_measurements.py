from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenlove_mlflow.tables import read_parquet_metadata
from greenlove_mlflow.tracking.spool.events import LapEvent, PowerEvent
from greenlove_mlflow.tracking.spool.measurements import LAP_SCHEMA, POWER_SCHEMA, write_laps, write_power


def a_reading(power_w: float = 300.0, at_s: float = 0.1) -> PowerEvent:
    return PowerEvent(device="gpu_0", at_s=at_s, power_w=power_w, timestamp_ms=1_790_000_000_000, step=0)


def a_lap(index: int, energy_j: float | None = None, forecast: tuple[float, float, float] | None = None) -> LapEvent:
    return LapEvent(index=index, duration_s=1.5, energy_j=energy_j, forecast_s=forecast, timestamp_ms=1000 + index)


def test_a_file_says_what_it_is_and_its_digest_is_of_its_content(tmp_path: Path) -> None:
    def metadata_of(watts: float) -> dict[str, str]:
        write_power([a_reading(watts)], tmp_path / "p.parquet")
        return read_parquet_metadata(tmp_path / "p.parquet")

    first, same, other = metadata_of(300.0), metadata_of(300.0), metadata_of(301.0)
    assert first["greenlove.table"] == "power"
    assert first["greenlove.as_of"] == "2026-09-21T14:13:20+00:00"
    assert len(first["greenlove.sha256"]) == 64
    assert first["greenlove.sha256"] == same["greenlove.sha256"] != other["greenlove.sha256"]


@pytest.mark.parametrize("energy", [None, 5.0])
def test_a_column_of_nothing_keeps_its_type(tmp_path: Path, energy: float | None) -> None:
    assert write_laps([a_lap(0, energy), a_lap(1, energy)], tmp_path / "e.parquet") == 2
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.schema.equals(LAP_SCHEMA)
    assert table.schema.field("energy_j").type == pa.float64()
    assert table["energy_j"].to_pylist() == [energy, energy]


def test_every_column_with_a_unit_says_it(tmp_path: Path) -> None:
    write_laps([a_lap(0, 5.0, (3.0, 2.0, 4.0))], tmp_path / "e.parquet")
    write_power([a_reading()], tmp_path / "p.parquet")
    for name, unit in (("duration_s", b"s"), ("energy_j", b"J"), ("forecast_time_low_s", b"s")):
        assert pq.read_schema(tmp_path / "e.parquet").field(name).metadata[b"unit"] == unit
    assert pq.read_schema(tmp_path / "p.parquet").field("power_w").metadata[b"unit"] == b"W"


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    laps = [a_lap(index, float(index), (3.0, 2.0, 4.0) if index % 2 else None) for index in range(250)]
    write_laps(iter(laps), tmp_path / "e.parquet")
    rows = pq.read_table(tmp_path / "e.parquet").to_pylist()
    assert [row["lap"] for row in rows] == list(range(250))
    assert [row["forecast_time_high_s"] for row in rows] == [None, 4.0] * 125
    write_power([a_reading(math.nan), a_reading(at_s=2.0)], tmp_path / "p.parquet")
    assert pq.read_table(tmp_path / "p.parquet")["at_s"].to_pylist() == [0.1, 2.0]


def test_no_rows_make_an_empty_table(tmp_path: Path) -> None:
    assert write_power([], tmp_path / "p.parquet") == 0
    assert pq.read_table(tmp_path / "p.parquet").schema.equals(POWER_SCHEMA)
    assert list(tmp_path.iterdir()) == [tmp_path / "p.parquet"]
