"""Build the dated tables beside this file from a folder of gathered CSVs: ``python data/build_tables.py SOURCE_DIR``.

Each table's columns, units and ranges stand in its ``schema.toml``; this script renames, selects and converts, writes
``<version>.csv`` and ``<version>.toml``, and reads both back through the checks. A version that is there already is
never edited: where its content would differ, the script stops.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from greenlove_mlflow.tables.schema import Sidecar, format_sidecar, read_sidecar
from greenlove_mlflow.tables.store import read_table_file

DATA = Path(__file__).resolve().parent
ACCESSED = "2026-11-24"
PROVIDER_OF_NONE = "price table of several clouds, third party, read 2026-07-16 (names no page)"
# GlobalPetrolPrices is proprietary: only the countries that green-love 0.2.2 covers are quoted.
QUOTED_CODES = (
    "AE AR AT AU BD BE BG BR BY CA CH CL CN CO CY CZ DE DK EE EG ES FI FR GB GH GR HR HU ID IE IL IN IS "
    "IT JP KE KR KZ LT LU LV MT MX MY NG NL NO NZ PE PH PK PL PT PY RO RS RU SA SE SG SI SK TH TR TW UA "
    "US VN ZA"
)
QUOTED_COUNTRIES = frozenset(QUOTED_CODES.split())
PRODUCERS = {
    "country": "Ember",
    "world": "Ember",
    "us_state": "US EPA eGRID",
    "egrid_subregion": "US EPA eGRID",
    "au_state": "Australian National Greenhouse Accounts",
    "cn_province": "codecarbon",
}

Built = tuple[str, str, pd.DataFrame]  # version, date published, rows


def main(source_dir: Path) -> None:
    """Build every table."""
    for name, build in BUILDERS.items():
        for version, published, frame in build(source_dir):
            _write(name, version, published, frame)


def _read(source_dir: Path, name: str) -> pd.DataFrame:
    # keep_default_na=False: the country code of Namibia is NA.
    frame = pd.read_csv(source_dir / name, keep_default_na=False, na_values=[""])
    for column in ("source", "grid_source"):
        if column in frame:
            frame[column] = frame[column].map(_cited, na_action="ignore")
    return frame


def _cited(source: str) -> str:
    """A source that names the page and the day instead of the copy that was read."""
    source = source.replace("stored copy (2026-07-16 price validation table)", PROVIDER_OF_NONE)
    source = re.sub(r"stored copy \((\S+) reading of (\S+)\)", r"\2, read \1", source)
    source = re.sub(r"stored (\w+) price page copies \((\S+)\)", r"\1 price page, \2", source)
    source = re.sub(r",? ?stored copy read (\S+)", r", read \1", source)
    source = re.sub(r"; stored copy \(([\d-]+)\)", r", read \1", source)
    source = re.sub(r", stored copy \((https[^)]+)\)", r", \1", source)
    return source.replace("residential from stored copy (June 2026)", "residential read June 2026")


def crusoe_prices(source_dir: Path) -> list[Built]:
    """The eight snapshots; two prices read between them become notes of the next one."""
    frame = _read(source_dir, "crusoe_catalog.csv")
    between = frame[frame["snapshot"] == "2026-07-16"]
    frame = frame[frame["snapshot"] != "2026-07-16"]
    frame = frame.rename(columns={"price_usd_per_gpu_hour": "price_usd_per_hour", "snapshot": "version"})
    frame = frame.rename(columns={"spot_price_usd_per_gpu_hour": "spot_usd_per_hour"})
    frame = frame.rename(columns=lambda name: name.replace("_usd_per_gpu_hour", "_usd_per_hour"))
    seen = dict(zip(between["gpu"], between["price_usd_per_gpu_hour"], strict=True))
    newest = frame["version"] == frame["version"].max()
    for gpu, price in seen.items():
        frame.loc[newest & (frame["gpu"] == gpu), "notes"] = f"also read 2026-07-16 at {price:.2f} by a third party"
    return [(str(version), str(version), rows) for version, rows in frame.groupby("version")]


def cloud_prices(source_dir: Path) -> list[Built]:
    """Other clouds, each row with its own date."""
    frame = _read(source_dir, "cloud_prices.csv").rename(
        columns={"price_usd_per_gpu_hour": "price_usd_per_hour", "spot_price_usd_per_gpu_hour": "spot_usd_per_hour"}
    )
    version = frame["as_of"].max()
    return [(version, version, frame.assign(version=version))]


def gpu_specs(source_dir: Path) -> list[Built]:
    """280 GPUs; tensor rates are dense with FP32 accumulation."""
    frame = _read(source_dir, "gpu_specs.csv")
    frame = frame.rename(columns=lambda name: name.replace("_tensor_", "_") if "nontensor" not in name else name)
    frame = frame.rename(columns={"memory_bandwidth_gb_s": "memory_bandwidth_gb_per_s"})
    return [("2026-10-31", "2026-10-31", frame)]


def gpu_throughput(source_dir: Path) -> list[Built]:
    """Lambda's rows without those that are flagged, mixed precision by AMP where there is AMP."""
    frame = _read(source_dir, "gpu_benchmarks.csv")
    # A flag says that the log cannot be what ran: superlinear, implausible, or no faster than one GPU.
    frame = frame[frame["flag"].isna()]
    group = ["suite", "task", "precision"]
    has_amp = frame["mode"].eq("AMP").groupby([frame[name] for name in group]).transform("any")
    frame = frame[~has_amp | frame["mode"].eq("AMP")].rename(columns={"num_gpus": "gpu_count"})
    key = [*group, "gpu_id", "gpu_count"]
    rows = (
        frame.sort_values([*key, "as_of"])
        .groupby(key, as_index=False)
        .agg(
            throughput=("throughput", "median"),
            unit=("unit", "last"),
            machine_count=("n_machines", "sum"),
            uses_tf32=("fp32_uses_tf32", lambda values: str(values.notna().any()).lower()),
            as_of=("as_of", "max"),
            source=("source", "last"),
        )
    )
    rows["source"] = rows["source"].str.replace(r".*/master/pytorch/| @aa5addb6", "", regex=True)
    return [("2025-12-17", "2025-12-17", rows)]


def gpu_throughput_bridge(source_dir: Path) -> list[Built]:
    """The same GPU in two suites."""
    frame = _read(source_dir, "gpu_benchmarks_suite_bridge.csv").rename(columns={"n_gpus": "gpu_count"})
    frame["source"] = "derived: median, least and greatest ratio over the GPUs in both suites, one GPU each"
    return [("2025-12-17", "2025-12-17", frame)]


def mlperf(source_dir: Path) -> list[Built]:
    """Single-node results whose GPU has a row in the specs."""
    frame = _read(source_dir, "mlperf_training.csv").rename(
        columns={
            "num_accelerators": "gpu_count",
            "time_to_train_minutes": "minutes",
            "ratio_to_group_median": "group_ratio",
            "num_runs": "run_count",
        }
    )
    return [("2026-06-16", "2026-06-16", frame[frame["gpu_id"].notna()])]


def crusoe_regions(source_dir: Path) -> list[Built]:
    """Regions without the grid figure, which is ODbL and stands in electricity_maps_zones."""
    frame = _read(source_dir, "crusoe_regions.csv").rename(columns={"country_iso2": "country_code"})
    return [("2026-09-28", "2026-09-28", frame)]


def _carbon(source_dir: Path) -> pd.DataFrame:
    frame = _read(source_dir, "carbon_intensity.csv").rename(
        columns={
            "country_iso2": "country_code",
            "country_iso3": "country_code_3",
            "carbon_intensity_g_per_kwh": "intensity_g_per_kwh",
            "scope": "scope_detail",
            "license": "licence",
        }
    )
    frame["scope"] = frame["scope_detail"].str.split(" ").str[0]
    frame["data_year_confirmed"] = frame["data_year_confirmed"].map(lambda value: str(value).lower())
    return frame


def carbon_intensity(source_dir: Path) -> list[Built]:
    """Countries and the world by life cycle; states, subregions and provinces by what leaves the stacks."""
    frame = _carbon(source_dir)
    frame = frame[frame["geo_type"].isin(PRODUCERS)].copy()
    frame["producer"] = frame["geo_type"].map(PRODUCERS)
    version = frame["as_of"].max()
    return [(version, version, frame)]


def electricity_maps_zones(source_dir: Path) -> list[Built]:
    """The zones of Electricity Maps, share-alike, a table of their own."""
    frame = _carbon(source_dir)
    return [("2026-06-29", "2026-06-29", frame[frame["geo_type"] == "em_zone"])]


def electricity_prices(source_dir: Path) -> list[Built]:
    """The quoted countries, all US states and the world."""
    frame = _read(source_dir, "electricity_prices.csv").rename(columns={"country_iso2": "country_code"})
    frame = frame[(frame["geo_type"] != "country") | frame["code"].isin(QUOTED_COUNTRIES)].copy()
    is_state = frame["geo_type"] == "us_state"
    frame["producer"] = is_state.map({True: "US EIA", False: "GlobalPetrolPrices"})
    frame["licence"] = is_state.map({True: "US public domain", False: "quoted with credit: GlobalPetrolPrices.com"})
    return [("2026-07-23", "2026-07-23", frame)]


def co2_equivalences(source_dir: Path) -> list[Built]:
    """EPA's factors and a few others; the web search of 2009 is too old to show."""
    frame = _read(source_dir, "co2_equivalences.csv").rename(columns={"kg_co2e_per_unit": "kg_per_unit"})
    frame = frame[frame["key"] != "google_search_2009"]
    return [("2026-08-04", "2026-08-04", frame)]


def cpu_tdp(source_dir: Path) -> list[Built]:
    """CPU models by TDP, the long source of most rows shortened to ``codecarbon``."""
    frame = _read(source_dir, "cpu_tdp.csv").rename(columns={"cores": "core_count", "threads": "thread_count"})
    frame.loc[frame["source"].str.startswith("https://github.com/mlco2/codecarbon"), "source"] = "codecarbon"
    return [("2026-08-08", "2026-08-08", frame)]


def ram_power(source_dir: Path) -> list[Built]:
    """Rules in watts per GB or per DIMM; an energy per GB and hour is a power per GB."""
    frame = _read(source_dir, "ram_power.csv").rename(columns={"value": "w_per_unit"})
    hourly = frame["unit"] == "kWh per GB-hour"
    frame.loc[hourly, "w_per_unit"] = (frame.loc[hourly, "w_per_unit"] * 1000.0).round(6)
    frame.loc[hourly, "unit"] = "W per GB"
    return [("2026-08-08", "2026-08-08", frame)]


def pue(source_dir: Path) -> list[Built]:
    """Surveys, operators, and what holds at home."""
    frame = _read(source_dir, "pue_reference.csv").rename(columns={"year": "data_year"})
    operators = ("Google", "Microsoft", "AWS", "Meta", "Equinix")
    frame["kind"] = frame["operator"].map(lambda name: "cloud" if name in operators else "survey")
    frame.loc[frame["operator"] == "on-premises workstation", "kind"] = "local"
    frame.loc[frame["operator"] == "Crusoe Cloud", "kind"] = "unknown"
    return [("2026-11-24", "2025-12-31", frame)]


BUILDERS: dict[str, Callable[[Path], list[Built]]] = {
    build.__name__: build
    for build in (
        gpu_specs,
        electricity_maps_zones,
        crusoe_prices,
        cloud_prices,
        gpu_throughput,
        gpu_throughput_bridge,
        mlperf,
        crusoe_regions,
        carbon_intensity,
        electricity_prices,
        co2_equivalences,
        cpu_tdp,
        ram_power,
        pue,
    )
}
ROW_SOURCES = {"cpu_tdp": {"codecarbon": "codecarbon 3.3.2 codecarbon/data/hardware/cpu_power.csv (MIT)"}}
ROW_SOURCES["gpu_throughput"] = {
    "": "a path below https://github.com/lambdal/deeplearning-benchmark/tree/aa5addb6/pytorch/",
}


def _write(name: str, version: str, published: str, frame: pd.DataFrame) -> None:
    schema = read_sidecar(DATA / name / "schema.toml")
    text = _csv(frame, schema)
    path = DATA / name / f"{version}.csv"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{path} is published and would change; a correction is a new version")
    path.write_text(text, encoding="utf-8", newline="\n")
    source = dataclasses.replace(schema.source, version=version, published=published, accessed=ACCESSED)
    sidecar = dataclasses.replace(
        schema,
        source=source,
        as_of=version,
        row_count=len(frame),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        row_sources=ROW_SOURCES.get(name, {}),
    )
    path.with_suffix(".toml").write_text(format_sidecar(sidecar), encoding="utf-8", newline="\n")
    table = read_table_file(path)
    print(f"{name} {table.version}: {len(table.frame)} rows, {path.stat().st_size / 1024:.0f} KiB")


def _csv(frame: pd.DataFrame, schema: Sidecar) -> str:
    rows = frame.reindex(columns=[column.name for column in schema.columns]).sort_values(list(schema.key))
    for column in schema.columns:
        if column.type == "integer":
            rows[column.name] = rows[column.name].astype("Int64")
        elif column.type == "boolean":
            rows[column.name] = rows[column.name].map(lambda value: str(value).lower(), na_action="ignore")
        elif column.type == "number":
            rows[column.name] = pd.to_numeric(rows[column.name])
    return rows.to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
