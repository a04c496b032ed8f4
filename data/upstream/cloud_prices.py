"""Prices of other clouds: the providers' public price lists, as SkyPilot's catalogs (Apache-2.0) keep them.

Kept: the price on demand, per GPU, of the instances listed here, in one region each; a row whose price moved gives way
to one of the day of the new version. Refused: spot prices, which move by the hour, instances that are not listed, and
the clouds without a catalog (Azure, CoreWeave, OCI, RunPod by pod), whose rows name the page or the reading that they
come from. The catalogs change several times a day and are read as they stand.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from versions import Change, add_row, drop_row, set_cell

NEEDS_VERSION = True
_CATALOGS = "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog/master/catalogs/v8"
PAGES = {f"skypilot_{cloud}.csv": f"{_CATALOGS}/{cloud}/vms.csv" for cloud in ("aws", "nebius")}
# Provider, instance and GPU of the table: catalog, instance and region in it.
INSTANCES = {
    ("AWS", "p4d.24xlarge", "A100 SXM 40GB"): ("aws", "p4d.24xlarge", "us-east-1"),
    ("AWS", "p4de.24xlarge", "A100 SXM 80GB"): ("aws", "p4de.24xlarge", "us-east-1"),
    ("AWS", "p5.4xlarge", "H100 SXM"): ("aws", "p5.4xlarge", "us-east-1"),
    ("AWS", "p5.48xlarge", "H100 SXM"): ("aws", "p5.48xlarge", "us-east-1"),
    ("AWS", "p5en.48xlarge", "H200"): ("aws", "p5en.48xlarge", "us-east-1"),
    ("AWS", "p6-b200.48xlarge", "B200"): ("aws", "p6-b200.48xlarge", "us-east-1"),
    ("AWS", "p6-b300.48xlarge", "B300"): ("aws", "p6-b300.48xlarge", "us-west-2"),
    ("Nebius", "HGX on-demand", "H100 SXM"): ("nebius", "gpu-h100-sxm_8gpu-128vcpu-1600gb", "eu-north1"),
    ("Nebius", "HGX on-demand", "B200"): ("nebius", "gpu-b200-sxm_8gpu-160vcpu-1792gb", "us-central1"),
}
OFF = 0.005
COPIED = ("gpu_id", "memory_gib", "gpu_count", "region")


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]], version: str) -> list[Change]:
    """The lines that bring today's prices into the table.

    Args:
        pages: The content of every page by its name in ``PAGES``.
        before: Rows of the version before.
        version: Day of the new version, on which the catalogs are read.
    """
    rows = {(row["provider"], row["instance_type"], row["gpu"]): row for row in before}
    lists = {name: read_prices(content) for name, content in pages.items()}
    lines: list[Change] = []
    for instance, (cloud, name, region) in INSTANCES.items():
        row, price = rows.get(instance), lists[f"skypilot_{cloud}.csv"].get((name, region))
        if row is None or price is None or abs(float(row["price_usd_per_hour"] or 0.0) / price - 1.0) <= OFF:
            continue
        page = PAGES[f"skypilot_{cloud}.csv"]
        source = f"{instance[0]}'s public price list through {page} (Apache-2.0), read {version}"
        key = "|".join((*instance, version))
        cells = {column: row[column] or "" for column in COPIED}
        cells |= {"price_usd_per_hour": f"{price:.4g}", "version": version, "evidence": "package"}
        old = "|".join((*instance, str(row["as_of"])))
        lines += [
            drop_row(old),
            add_row(key, source),
            *(set_cell(key, column, value) for column, value in cells.items()),
        ]
    return lines


def read_prices(content: bytes) -> dict[tuple[str, str], float]:
    """Dollars a GPU and hour, on demand, by instance and region; the least of a region's zones."""
    prices: dict[tuple[str, str], float] = {}
    for row in csv.DictReader(io.StringIO(content.decode())):
        count, total = float(row["AcceleratorCount"] or 0.0), float(row["Price"] or 0.0)
        if count > 0.0 and total > 0.0:
            key = (row["InstanceType"], row["Region"])
            prices[key] = min(total / count, prices.get(key, total / count))
    return prices
