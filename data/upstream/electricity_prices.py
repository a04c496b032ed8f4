"""Electricity prices: Eurostat's of households and small companies, and what a region's countries pay.

Kept from Eurostat: one consumption band each (2,500 to 5,000 kWh a year with all taxes for households, 20 to 500 MWh
without VAT for others), euro, the newest year. Refused: other bands and currencies, aggregates but the EU's, and
places without a figure in that year. Euro become dollars by the mean of the ECB's reference rates of each half year.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
import zipfile
from collections.abc import Iterable

from un_subregions import CONTINENTS, SUBREGIONS, continent_of, subregion_of
from versions import Change, add_row, set_cell

API = "https://ec.europa.eu/eurostat/api/dissemination/sdmx/2.1/data/"
PAGES = {
    "eurostat_nrg_pc_204.tsv": f"{API}nrg_pc_204/?format=TSV",
    "eurostat_nrg_pc_205.tsv": f"{API}nrg_pc_205/?format=TSV",
    "ecb_eurofxref.csv": "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip",
}
HOUSEHOLD = "S,E7000,KWH2500-4999,KWH,I_TAX,EUR,"
COMPANY = "S,E7000,MWH20-499,KWH,X_VAT,EUR,"
EUROSTAT_CODES = {"EL": "GR", "UK": "GB", "EU27_2020": "EU"}
# The euro area is no place; of Liechtenstein no table has the carbon intensity.
REFUSED = frozenset({"EA", "LI"})
# Of the places that Eurostat adds to the countries of the first version.
NAMES = {
    "AL": "Albania",
    "BA": "Bosnia and Herzegovina",
    "EU": "European Union",
    "GE": "Georgia",
    "MD": "Moldova",
    "ME": "Montenegro",
    "MK": "North Macedonia",
    "XK": "Kosovo",
}
LEAST_COUNTRIES = 3


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that bring Eurostat's newest year into the table.

    Args:
        pages: The content of every page by its name in ``PAGES``.
        before: Rows of the version before.
    """
    household = half_years(pages["eurostat_nrg_pc_204.tsv"].decode(), HOUSEHOLD)
    company = half_years(pages["eurostat_nrg_pc_205.tsv"].decode(), COMPANY)
    rates = usd_per_eur(pages["ecb_eurofxref.csv"])
    year = max(period[:4] for prices in household.values() for period in prices)
    known = {str(row["code"]) for row in before}
    lines: list[Change] = []
    for code, prices in sorted(household.items()):
        residential = _year_mean(prices, year, rates)
        if residential is None:
            continue
        row = f"{'union' if code == 'EU' else 'country'}|{code}"
        if code not in known:
            lines.append(add_row(row))
            lines += [set_cell(row, "country_code", "" if code == "EU" else code)]
            lines += [set_cell(row, "name", NAMES[code])]
        business = _year_mean(company.get(code, {}), year, rates)
        lines += [set_cell(row, column, value) for column, value in _cells(year, residential, business).items()]
    return lines


def _cells(year: str, residential: float, business: float | None) -> dict[str, str]:
    datasets = "nrg_pc_204" if business is None else "nrg_pc_204 and nrg_pc_205"
    return {
        "residential_usd_per_kwh": f"{residential:.4f}",
        "business_usd_per_kwh": "" if business is None else f"{business:.4f}",
        "period": f"{year}, both half years",
        "producer": "Eurostat",
        "licence": "CC BY 4.0",
        "as_of": f"{year}-12-31",
        "source": f"Eurostat {datasets}, https://ec.europa.eu/eurostat/databrowser/view/nrg_pc_204; in dollars by the "
        "ECB's reference rates",
        "notes": "households of 2,500 to 5,000 kWh a year with all taxes; companies of 20 to 500 MWh without VAT",
    }


def half_years(text: str, prefix: str) -> dict[str, dict[str, float]]:
    """Euro per kWh by place and half year, of the rows with that prefix; flags and missing figures left out."""
    lines = text.splitlines()
    periods = [period.strip() for period in lines[0].split("\t")[1:]]
    found: dict[str, dict[str, float]] = {}
    for line in lines[1:]:
        key, *cells = line.split("\t")
        place = key.removeprefix(prefix)
        if place == key or place in REFUSED:
            continue
        prices = {
            period: float(cell.split()[0])
            for period, cell in zip(periods, cells, strict=True)
            if not cell.strip().startswith(":")
        }
        found[EUROSTAT_CODES.get(place, place)] = prices
    return found


def usd_per_eur(content: bytes) -> dict[str, float]:
    """Dollars per euro by half year ("2025-S1"): the mean of the ECB's reference rates; its zip or the CSV in it."""
    if content[:2] == b"PK":
        archive = zipfile.ZipFile(io.BytesIO(content))
        content = archive.read(archive.namelist()[0])
    rates: dict[str, list[float]] = {}
    for row in csv.DictReader(io.StringIO(content.decode())):
        half = 1 if int(row["Date"][5:7]) <= 6 else 2
        rates.setdefault(f"{row['Date'][:4]}-S{half}", []).append(float(row["USD"]))
    return {period: statistics.fmean(values) for period, values in rates.items()}


def _year_mean(prices: dict[str, float], year: str, rates: dict[str, float]) -> float | None:
    values = [price * rates[period] for period, price in prices.items() if period.startswith(year)]
    return statistics.fmean(values) if values else None


def derived(rows: Iterable[dict[str, str | None]], version: str) -> list[Change]:
    """The lines of what the countries of each subregion pay: geometric mean, spread and how many they are.

    A subregion with fewer than three priced countries gets its continent's figure.
    """
    rows = list(rows)
    residential = {str(row["code"]): float(row["residential_usd_per_kwh"] or 0.0) for row in rows if _is_country(row)}
    known = {str(row["code"]) for row in rows}
    of_subregion = subregion_of()
    logs: dict[str, list[float]] = {code: [] for code in SUBREGIONS}
    for country, price in residential.items():
        logs[of_subregion[country]].append(math.log(price))
    lines: list[Change] = []
    for code, (name, _) in SUBREGIONS.items():
        values, of = logs[code], name
        if len(values) < LEAST_COUNTRIES:
            continent = CONTINENTS[continent_of()[code]]
            values, of = [value for part in continent[1].split() for value in logs[part]], continent[0]
        if len(values) >= LEAST_COUNTRIES:
            lines += [] if code in known else [add_row(f"region|{code}")]
            lines += _region_lines(f"region|{code}", name, of, values, version)
    return lines


def _is_country(row: dict[str, str | None]) -> bool:
    return row["geo_type"] == "country" and bool(row["residential_usd_per_kwh"])


def _region_lines(row: str, name: str, of: str, logs: list[float], version: str) -> list[Change]:
    cells = {
        "name": name,
        "residential_usd_per_kwh": f"{math.exp(statistics.fmean(logs)):.4f}",
        "log_sd": f"{statistics.stdev(logs):.3f}",
        "country_count": str(len(logs)),
        "period": "as its countries",
        "producer": "computed from the countries of this table",
        "licence": "as the rows it is computed from",
        "as_of": version,
        "source": f"derived: geometric mean of {len(logs)} countries of {of} in this table; subregion of UN M49, "
        "https://unstats.un.org/unsd/methodology/m49/",
    }
    return [set_cell(row, column, value) for column, value in cells.items()]
