"""``greenlove compare``: what a tracked run would take and cost on each offer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from greenlove_mlflow.cli import echo_whole
from greenlove_mlflow.core.quantity import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from greenlove_mlflow.core.account.estimate import Estimate
    from greenlove_mlflow.core.interval import Interval
    from greenlove_mlflow.core.offers.compare import Comparison


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--prices", default="newest", show_default=True, help="newest, a version, or a CSV of your own.")
@click.option("--store", "store_uri", help="MLflow store; what MLflow is set to when not given.")
@click.option("--all", "everything", is_flag=True, help="Show every offer, figure and caveat.")
@click.option("--why", is_flag=True, help="Show every caveat, with what to do about it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, run_id: str, prices: str, store_uri: str | None, everything: bool, why: bool, as_json: bool) -> None:
    """Show what a tracked RUN, by id or name, takes on each offer.

    Nothing is trained: the run's benchmark is priced with the given sheet. Exit code 0 when the offers were shown, 1
    when the run cannot be read or no offer can be compared with it, 2 for wrong usage.
    """
    import mlflow

    from greenlove_mlflow.core.account.estimate import estimate_training
    from greenlove_mlflow.errors import RunDataError
    from greenlove_mlflow.stored.stored_runs import StoredComparer, find_run_id
    from greenlove_mlflow.terminal import make_console, print_caveats, print_everything, print_summary
    from greenlove_mlflow.tracking import read_run

    uri = store_uri or mlflow.get_tracking_uri()
    stored = read_run(find_run_id(run_id, store_uri=uri), store_uri=uri, with_log=False)
    comparison = StoredComparer(prices).compare(estimate_training(stored.statistics))
    if comparison is None:
        raise RunDataError(f"no speed ratio from the machine of run {stored.run_id} to any offer is known")
    console, home = make_console(), comparison.home
    if as_json:
        echo_whole(json.dumps(_plain(comparison), allow_nan=False))
    elif everything:
        print_everything(console, home, comparison)
    elif why:
        print_caveats(console, [*home.caveats, *comparison.caveats])
    else:
        print_summary(console, home, comparison, stored.url)


def _plain(comparison: Comparison) -> dict[str, Any]:
    return {
        "prices_version": comparison.prices.version,
        "prices_as_of": comparison.prices.as_of,
        "home": {"name": comparison.home_name, **figures(comparison.home)},
        "offers": [
            {
                "gpu": row.offer.gpu,
                "rented_gpu_count": row.rented_gpu_count,
                "used_gpu_count": row.used_gpu_count,
                "price_usd_per_hour": row.offer.price_usd_per_hour,
                "speed_ratio": row.speed_ratio.ratio.point,
                "time_ratio": _ends(row.time_ratio),
                "bound_by": row.bound_by,
                "basis": row.speed_ratio.basis,
                "fits_memory": row.fits_memory,
                **figures(row.estimate),
            }
            for row in comparison.rows
        ],
        "caveats": [{"code": each.code, "message": each.message} for each in comparison.caveats],
    }


def figures(estimate: Estimate) -> dict[str, Sequence[float] | None]:
    """Point, low and high of each figure, by field name."""
    return {quantity.field: _ends(getattr(estimate, quantity.field)) for quantity in QUANTITIES}


def _ends(value: Interval | None) -> Sequence[float] | None:
    return None if value is None else (value.point, value.low, value.high)
