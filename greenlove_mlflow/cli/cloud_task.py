"""``greenlove cloud-task``: write a dstack task that benchmarks your training on a Crusoe Cloud GPU."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenlove_mlflow.cli import echo, echo_whole
from greenlove_mlflow.core.offers.offer import DEFAULT_BILLING
from greenlove_mlflow.errors import InvalidInputError

if TYPE_CHECKING:
    from greenlove_mlflow.cloud_task import CloudTask
    from greenlove_mlflow.core.offers.offer import Offer

# The benchmark takes half a minute; the rest is for starting the machine and installing torch.
DEFAULT_DURATION = "30m"
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("training", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--gpu", required=True, help="As the price sheet names it, for example 'H100 HGX 80GB'.")
@click.option("--prices", default="newest", show_default=True, help="Version of the price sheet.")
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow server that the rented GPU can reach.")
@click.option("--experiment", envvar="MLFLOW_EXPERIMENT_NAME", default="Default", show_default=True)
@click.option("--max-price", type=click.FloatRange(min=0.0, min_open=True), help="US dollars per instance and hour.")
@click.option("--max-duration", default=DEFAULT_DURATION, show_default=True, help="Such as 900s, 30m or 1h.")
@click.option("--region", help="Region of the cloud; any when left out.")
@click.option("--install", multiple=True, default=("greenlove-mlflow",), show_default=True, help="For pip; repeatable.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("greenlove.dstack.yml"))
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--json", "as_json", is_flag=True, help="Say what was written as one JSON object.")
def command(
    *,
    training: tuple[str, ...],
    gpu: str,
    prices: str,
    tracking_uri: str | None,
    experiment: str,
    max_price: float | None,
    max_duration: str,
    region: str | None,
    install: tuple[str, ...],
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Write a task file that runs TRAINING, up to its benchmark, on a rented GPU. Nothing is submitted.

    TRAINING is the command that starts your own training with greenlove in it, for example
    `greenlove cloud-task --gpu "L40S 48GB" -- python train.py --epochs 100`. The file's folder is uploaded with it.
    Apply it with dstack (`pip install 'greenlove-mlflow[dstack]'`, backend crusoe); then `compare` with
    `measured="auto"` takes the ratio from the two runs. Exit code 0 when the file was written, 1 when it was not.
    """
    from greenlove_mlflow.cloud_task import CREDENTIAL_VARIABLES, CloudTask, instance_size
    from greenlove_mlflow.environment import set_variables

    offer, sku = _find_offer(gpu, prices)
    if not tracking_uri:
        raise InvalidInputError("no MLflow server to record in; pass --tracking-uri or set MLFLOW_TRACKING_URI")
    size = instance_size(offer, 1)
    task = CloudTask(
        offer=offer,
        command=shlex.join(training),
        tracking_uri=tracking_uri,
        experiment=experiment,
        max_price_usd_per_hour=max_price or _price_of_instance(offer, size),
        max_duration_s=parse_duration_s(max_duration),
        instance_type=f"{sku}.{size}x" if sku else "",
        gpu_count=size,
        region=region,
        install=install,
        credentials=set_variables(CREDENTIAL_VARIABLES),
    )
    _write(task, output, force=force)
    if as_json:
        echo_whole(json.dumps(_plain(task, output)))
    else:
        echo(_in_words(task, output))


def _write(task: CloudTask, output: Path, *, force: bool) -> None:
    from greenlove_mlflow.cloud_task import format_cloud_task

    if output.exists() and not force:
        raise InvalidInputError(f"{output} already exists; pass --force to overwrite it, or --output")
    output.write_text(format_cloud_task(task), encoding="utf-8")


def _in_words(task: CloudTask, output: Path) -> str:
    from greenlove_mlflow.numbers import format_usd

    return (
        f"Wrote {output}: an instance of {task.gpu_count} x {task.offer.gpu}, at most {format_usd(task.most_usd)}.\n"
        f"Nothing was submitted. To run it: dstack apply -f {shlex.quote(str(output))}"
    )


def _plain(task: CloudTask, output: Path) -> dict[str, Any]:
    return {"path": str(output), "gpu": task.offer.gpu, "gpu_count": task.gpu_count, "most_usd": task.most_usd}


def parse_duration_s(text: str) -> float:
    """The seconds of a duration such as ``900s``, ``30m`` or ``1h``.

    Raises:
        InvalidInputError: If the text is not a duration.

    >>> parse_duration_s("30m")
    1800.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None:
        raise InvalidInputError(f"{text!r} is not a duration; write it as 900s, 30m or 1h")
    return float(found.group(1)) * _UNIT_S[found.group(2)]


def _price_of_instance(offer: Offer, size: int) -> float:
    """List price of an instance in US dollars per hour, rounded up to the next cent."""
    if offer.price_usd_per_hour is None:
        raise InvalidInputError(f"{offer.gpu} has no public price; pass --max-price (US dollars an instance hour)")
    return math.ceil(offer.price_usd_per_hour * size * 100.0) / 100.0


def _find_offer(gpu: str, prices: str) -> tuple[Offer, str]:
    """The price sheet's offer of that GPU, and the cloud's name for its instances (empty when unknown)."""
    from greenlove_mlflow.core.speed.gpu_names import find_gpu
    from greenlove_mlflow.tables import read_gpu_specs, read_price_sheet
    from greenlove_mlflow.tables.store.rows import rows_of

    sheet = read_price_sheet(prices)
    names = {offer.gpu: offer.gpu_id for offer in sheet.offers}
    gpu_id = names.get(gpu) or find_gpu(gpu, read_gpu_specs(), offer_names=names).gpu_id
    offers = [each for each in sheet.offers if each.gpu_id == gpu_id and each.billing in DEFAULT_BILLING]
    if not offers:
        raise InvalidInputError(f"the price sheet {sheet.version} does not offer {gpu!r}; it has {', '.join(names)}")
    skus = {row["gpu_id"]: row["sku_prefix"] or "" for _, row in rows_of("crusoe_prices")}
    return offers[0], skus.get(gpu_id, "")
