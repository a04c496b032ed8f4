"""Regions of clouds: where Google says its regions stand, from the table that it publishes (Apache-2.0).

Kept: that each of Google's regions in the table is still there, with the place that the row says. Refused: new
regions, whose state or country has to be typed beside them, and the carbon figures, which the grid's own table has.
The other providers print their regions on pages that no program can read; each row names its page.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from versions import Change, drop_row, set_cell

COMMIT = "49f3f26bfd682305e8d9b572fea1f811900421a9"
_PATH = "data/yearly/2024.csv"
PAGES = {
    "google_region_carbon.csv": f"https://raw.githubusercontent.com/GoogleCloudPlatform/region-carbon-info/{COMMIT}/{_PATH}"
}
PROVIDER = "GCP"
SOURCE = f"https://github.com/GoogleCloudPlatform/region-carbon-info {_PATH} @{COMMIT[:8]} (Apache-2.0)"


def changes(pages: dict[str, bytes], before: Iterable[dict[str, str | None]]) -> list[Change]:
    """The lines that confirm Google's regions, or drop those that Google no longer lists."""
    text = pages["google_region_carbon.csv"].decode()
    places = {row["Google Cloud Region"]: row["Location"] for row in csv.DictReader(io.StringIO(text))}
    lines: list[Change] = []
    for row in (row for row in before if row["provider"] == PROVIDER):
        key = f"{PROVIDER}|{row['region']}"
        place = places.get(str(row["region"]))
        if place is None:
            lines.append(drop_row(key))
            continue
        if row["source"] != SOURCE:
            lines.append(set_cell(key, "source", SOURCE))
        if not _is_same(place, str(row["location"])):
            lines.append(set_cell(key, "location", place))
    return lines


def _is_same(place: str, location: str) -> bool:
    """Whether Google's word for the place is among the row's, or the other way round."""
    theirs, ours = (set(text.replace(",", " ").lower().split()) for text in (place, location))
    return bool(theirs & ours)
