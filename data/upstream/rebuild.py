"""Build dated versions of the tables: ``python data/upstream/rebuild.py [TABLE ...] [--fetch] [--check]``.

Without ``--fetch`` each version that has a changes file is built again from it. With it the pages of each table's
fetcher are read, live or from ``--pages FOLDER``, and become the changes of a new version, ``--version``. With
``--check`` nothing is written: rows gone (-), rows new (+) and cells that change (~) against the newest version are
printed, and the exit status says whether there are any. A fetcher pins the release or commit that it reads;
``--newest`` checks against what stands there today.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import UnreadablePageError, newest, read_page
from versions import (
    CHANGES,
    DATA,
    Change,
    changed,
    read_changes,
    schema_of,
    version_before,
    version_rows,
    version_text,
    versions_with_changes,
    write_changes,
    write_version,
)

FETCHED, DERIVED = "1-fetched", "9-derived"
OWN = frozenset({"pages", "rebuild", "versions"})
AFTER_EVERY_VERSION = "9999-12-31"


def fetchers() -> tuple[str, ...]:
    """The fetchers that have pages; most are called like their table."""
    here = Path(__file__).resolve().parent
    modules = {
        path.stem: importlib.import_module(path.stem) for path in sorted(here.glob("*.py")) if path.stem not in OWN
    }
    return tuple(name for name, module in modules.items() if module.PAGES)


def table_of(fetcher: str) -> str:
    """The table that a fetcher makes changes to."""
    return str(getattr(importlib.import_module(fetcher), "TABLE", fetcher))


def read_pages(module: ModuleType, folder: Path | None, *, as_of_today: bool = False) -> dict[str, bytes]:
    """The content of every page that a fetcher names: of a folder of recorded ones where it is there, else live."""
    found = {}
    for name, address in module.PAGES.items():
        if folder is not None and (folder / name).exists():
            found[name] = (folder / name).read_bytes()
        else:
            found[name] = read_page(newest(address) if as_of_today else address)
    return found


def fetch(name: str, before: pd.DataFrame, pages: dict[str, bytes], version: str) -> list[Change]:
    """The changes that a fetcher's pages make to the rows of a table."""
    module = importlib.import_module(name)
    rows = before.to_dict("records")
    if getattr(module, "NEEDS_VERSION", False):
        return list(module.changes(pages, rows, version))
    return list(module.changes(pages, rows))


def derive(name: str, lines: list[Change], version: str) -> list[Change]:
    """The lines that a table works out from its own rows; none where it works out nothing."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:
        return []
    rows = version_rows(name, lines, version).to_dict("records")
    return list(module.derived(rows, version)) if hasattr(module, "derived") else []


def differences(before: pd.DataFrame, after: pd.DataFrame, key: tuple[str, ...]) -> list[str]:
    """What changed from one version to another, a line each: rows gone, rows new, cells with both values."""
    old = {tuple(row[part] for part in key): row for row in before.to_dict("records")}
    new = {tuple(row[part] for part in key): row for row in after.to_dict("records")}
    lines = [f"- {'|'.join(map(str, row))}" for row in old if row not in new]
    lines += [f"+ {'|'.join(map(str, row))}" for row in new if row not in old]
    for row in old.keys() & new.keys():
        lines += [
            f"~ {'|'.join(map(str, row))} {column}: {old[row].get(column)} -> {value}"
            for column, value in new[row].items()
            if (old[row].get(column) or None) != (value or None)
        ]
    return sorted(lines)


def main(arguments: list[str]) -> int:
    """Build, fetch or check; 1 when a check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", help="tables; all that have a changes file when none is named")
    parser.add_argument("--fetch", action="store_true", help="read the table's pages and make a new version's changes")
    parser.add_argument("--pages", type=Path, help="folder of recorded pages to read in place of the live ones")
    parser.add_argument("--version", help="date of the new version, ISO 8601")
    parser.add_argument("--check", action="store_true", help="print what would change, write nothing")
    parser.add_argument("--newest", action="store_true", help="with --check: read what stands there today, not the pin")
    parser.add_argument("--accessed", help="the day the sources were read; by default the version's")
    options = parser.parse_args(arguments)
    made = sorted(folder.name for folder in CHANGES.iterdir())
    names = options.tables or (fetchers() if options.fetch else made)
    if options.fetch and not options.check and not options.version:
        parser.error("--fetch needs --version, the date of the new version, or --check")
    if options.newest and not (options.fetch and options.check):
        parser.error("--newest goes with --fetch --check: a version names the pin that it was read from")
    changes = 0
    for name in names:
        if options.fetch:
            changes += _fetch(name, options)
        else:
            changes += sum(_build(name, version, options) for version in versions_with_changes(name))
    return 1 if options.check and changes else 0


def _fetch(name: str, options: argparse.Namespace) -> int:
    module, table = importlib.import_module(name), table_of(name)
    try:
        pages = read_pages(module, options.pages, as_of_today=options.newest)
    except UnreadablePageError as error:
        print(f"{name}: not checked, {error}", file=sys.stderr)
        return 1
    version = options.version or dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
    before = version_before(table, options.version or AFTER_EVERY_VERSION)
    lines = fetch(name, before, pages, version)
    if not options.check:
        write_changes(table, version, FETCHED if name == table else f"{FETCHED}-{name}", lines)
        return _build(table, version, options)
    schema = schema_of(table)
    after = changed(before, lines, schema.key, [column.name for column in schema.columns])
    found = differences(before, after, schema.key)
    print("\n".join([f"{name}: {len(found)} would change", *found]) if found else f"{name}: nothing would change")
    return len(found)


def _build(name: str, version: str, options: argparse.Namespace) -> int:
    derived = derive(name, read_changes(name, version, without=DERIVED), version)
    if derived and not options.check:
        write_changes(name, version, DERIVED, derived)
    text = version_text(name, version)
    path = DATA / name / f"{version}.csv"
    same = path.exists() and path.read_text(encoding="utf-8") == text
    if options.check:
        print(f"{name} {version}: {'as its changes make it' if same else 'differs from its changes'}")
    else:
        write_version(name, version, text, published=version, accessed=options.accessed or version)
        print(f"{name} {version}: {len(text.splitlines()) - 1} lines")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
