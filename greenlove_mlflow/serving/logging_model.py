"""Writes the model, with its data and a copy of the light part of the package, to a folder or a run.

It is logged through the client alone: no active run, no registry.
"""

from __future__ import annotations

import ast
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import greenlove_mlflow._version as _version_file
from greenlove_mlflow._version import __version__
from greenlove_mlflow.core.account.run_facts import RunFacts
from greenlove_mlflow.core.offers.offer import Offer, PriceSheet
from greenlove_mlflow.core.quantity import COLUMNS
from greenlove_mlflow.core.speed.gpus import GpuSpec
from greenlove_mlflow.serving.columns import INPUTS, PARAMS, REQUIRED_INPUTS, make_signature
from greenlove_mlflow.serving.facts import FACTS_ARTIFACT, GpuRatio, ModelFacts
from greenlove_mlflow.tables import (
    read_default_pue,
    read_gpu_specs,
    read_instance_start,
    read_price_sheet,
    read_regions,
    table_versions,
)
from greenlove_mlflow.tables.prices.sheets import PRICE_TABLE
from greenlove_mlflow.tables.published_speeds import read_ratio_book

if TYPE_CHECKING:
    from mlflow import MlflowClient

PACKAGE = "greenlove_mlflow"
MARKER = "carried_by_model.txt"
_ENTRY = f"{PACKAGE}.serving.model"
MODEL_NAME = "greenlove-estimator"
NOTE_TAG = "mlflow.note.content"
# Stated, because inferring them takes four seconds and a subprocess.
PIP_REQUIREMENTS = ("mlflow-skinny>=3.1", "pandas>=2.0", "pyarrow>=14")


def gather_facts(statistics: RunFacts | None, *, sheet: PriceSheet | None = None) -> ModelFacts:
    """Everything that a model needs to estimate a run, or the runs whose facts its rows hold.

    Args:
        statistics: Run facts; None for a model without a run.
        sheet: The price sheet of the run's first comparison, if it is the user's own.
    """
    specs = read_gpu_specs()
    book = read_ratio_book()
    ratios = [] if statistics is None else [(spec.gpu_id, book.ratio_of(statistics, spec.gpu_id)) for spec in specs]
    return ModelFacts(
        statistics=statistics,
        ratios=tuple(GpuRatio.of(gpu_id, ratio) for gpu_id, ratio in ratios if ratio is not None),
        specs=tuple(_light_spec(spec) for spec in specs),
        offers=tuple(_light_offer(offer) for offer in _known_offers(sheet)),
        regions=read_regions(),
        cloud_pue=read_default_pue("cloud")[0],
        start_s=read_instance_start()[0].point,
        package_version=__version__,
    )


def _known_offers(sheet: PriceSheet | None) -> Iterable[Offer]:
    """One offer per GPU and version, from the user's sheet first, then from published ones, newest first."""
    published = (read_price_sheet(version) for version in reversed(table_versions(PRICE_TABLE)))
    own = () if sheet is None else (sheet,)
    first: dict[tuple[str, str], Offer] = {}
    for offer in (offer for each in (*own, *published) for offer in each.offers):
        first.setdefault((offer.gpu, offer.version), offer)
    return first.values()


def _light_offer(offer: Offer) -> Offer:
    """An offer without its price."""
    return Offer(
        provider=offer.provider,
        gpu=offer.gpu,
        gpu_id=offer.gpu_id,
        memory_gib=offer.memory_gib,
        price_usd_per_hour=None,
        gpu_counts=offer.gpu_counts,
        regions=offer.regions,
        version=offer.version,
    )


def _light_spec(spec: GpuSpec) -> GpuSpec:
    """A GPU's specs without the fields that only ratios are computed from."""
    kept = ("gpu_id", "name", "aliases", "alias_is_ambiguous", "memory_gib", "tdp_w", "idle_w", "is_own")
    return GpuSpec(**{name: getattr(spec, name) for name in kept})


def copy_light_part(folder: Path) -> Path:
    """Copy the modules that the served code imports to ``greenlove_mlflow`` inside ``folder``, and return that path."""
    root = _root()
    for module in light_modules():
        source = _file_of(module)
        target = folder / PACKAGE / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    text = f"The light part of greenlove-mlflow {__version__}, carried by an MLflow model.\n"
    (folder / PACKAGE / MARKER).write_text(text, encoding="utf-8")
    return folder / PACKAGE


@cache
def light_modules() -> tuple[str, ...]:
    """The package's modules that ``predict`` imports, directly or indirectly, except for type checking."""
    found: set[str] = set()
    # The package's own __init__ imports the version, and nothing else when it is loaded.
    waiting = [_ENTRY, _version_file.__name__]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        parent = module.rpartition(".")[0]
        waiting += [parent] if parent else []
        # The package's lazy names lead to all of its modules, but served code does not use them.
        waiting += [] if module == PACKAGE else _imports_of(module)
    return tuple(sorted(found))


def _imports_of(module: str) -> list[str]:
    tree = ast.parse(_file_of(module).read_text(encoding="utf-8"))
    names: list[str] = []
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.startswith(f"{PACKAGE}.") and _exists(name)]


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes except branches under ``TYPE_CHECKING``."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def _root() -> Path:
    return Path(_version_file.__file__).resolve().parent


def _exists(module: str) -> bool:
    return _file_of(module).is_file()


def _file_of(module: str) -> Path:
    path = _root().joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


_SERVED = Path(__file__).with_name("served.py")


def save_estimator_model(path: Path | str, facts: ModelFacts, *, mlflow_model: Any = None) -> None:
    """Write the model to a new or empty folder.

    Args:
        path: The folder.
        facts: The data of the model.
        mlflow_model: MLflow's ``Model`` to add to; a new one when None.
    """
    import mlflow.pyfunc

    with tempfile.TemporaryDirectory(prefix="greenlove-model-") as scratch, warnings.catch_warnings():
        # With an input example, MLflow would load and run the model once, for a second; the signature suffices.
        warnings.filterwarnings("ignore", message=".*input example was not provided")
        facts_file = Path(scratch) / "facts.json"
        facts_file.write_text(facts.to_json(), encoding="utf-8")
        # From a copy, because the model's description contains the path of its code.
        code_file = Path(scratch) / _SERVED.name
        shutil.copyfile(_SERVED, code_file)
        mlflow.pyfunc.save_model(
            path=str(path),
            python_model=str(code_file),
            artifacts={FACTS_ARTIFACT: str(facts_file)},
            code_paths=[str(copy_light_part(Path(scratch) / "code"))],
            signature=make_signature(facts.statistics),
            pip_requirements=list(PIP_REQUIREMENTS),
            metadata={"greenlove_version": __version__},
            mlflow_model=mlflow_model,
        )


def log_estimator_model(
    run_id: str, statistics: RunFacts, *, sheet: PriceSheet | None = None, tracking_uri: str | None = None
) -> str:
    """Log the model in a run as ``greenlove-estimator`` and return its URI ``models:/m-...``.

    It can also be loaded as ``runs:/<run id>/greenlove-estimator``. It is not registered: that is the user's decision.
    Uses the client alone, so no active run is needed, used or started; waits for the store's responses.

    Args:
        run_id: Id of the run that was estimated.
        statistics: Facts of that run, including its speed ratios.
        sheet: The price sheet of its comparison, if it is the user's own.
        tracking_uri: Address of the store that holds the run; MLflow's own setting when not given.
    """
    from mlflow import MlflowClient

    return log_facts(run_id, gather_facts(statistics, sheet=sheet), client=MlflowClient(tracking_uri))


def model_note(run_id: str) -> str:
    """The model's description on MLflow's page: what goes in, what comes out, and one call."""
    inputs = ", ".join(f"`{name}`" + ("" if name in REQUIRED_INPUTS else " (optional)") for name in INPUTS)
    figures = ", ".join(f"`{name}`" for name in COLUMNS)
    params = ", ".join(f"`{name}`" for name in PARAMS)
    return "\n\n".join([
        "Estimates this training again with other prices: one row of prices in, one row of estimates out.",
        f"**Columns in:** {inputs}.",
        (f"**Columns out:** {figures}, each with `_lo` and `_hi` (95% range); `rented_gpu_count`, `used_gpu_count`, "
        "`basis`, `problem`, and `local_...` for the machine that was measured."),
        f"**Params:** {params}; each run's own where left out.",
        ("```python\n"
        f'model = mlflow.pyfunc.load_model("runs:/{run_id}/{MODEL_NAME}")\n'
        'model.predict(pandas.DataFrame({"gpu": ["H100 HGX 80GB"], "price_usd_per_hour": [3.9]}))\n'
        "```"),
    ])  # fmt: skip


def has_model(client: MlflowClient, run_id: str) -> bool:
    """Whether the run has a complete estimator model."""
    run = client.get_run(run_id)
    found = client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run_id}' AND name = '{MODEL_NAME}'"
    )
    return any(str(getattr(each.status, "value", each.status)) == "READY" for each in found)


def log_facts(run_id: str, facts: ModelFacts, *, client: MlflowClient) -> str:
    """Log a model with these facts in a run and return its URI.

    Args:
        run_id: Id of the run.
        facts: The data of the model.
        client: Client of the store that holds the run.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    run = client.get_run(run_id)
    logged = client.create_logged_model(
        experiment_id=run.info.experiment_id,
        name=MODEL_NAME,
        source_run_id=run_id,
        params=dict(run.data.params),
        model_type="greenlove-estimator",
        tags={NOTE_TAG: model_note(run_id)},
    )
    try:
        description = Model(
            artifact_path=logged.artifact_location,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
            run_id=run_id,
        )
        with tempfile.TemporaryDirectory(prefix="greenlove-model-") as scratch:
            folder = Path(scratch) / "model"
            save_estimator_model(folder, facts, mlflow_model=description)
            client.log_model_artifacts(logged.model_id, str(folder))
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    except BaseException:  # a store or Ctrl-C may end it anywhere; the model must say so, and the cause goes on
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    return f"models:/{logged.model_id}"
