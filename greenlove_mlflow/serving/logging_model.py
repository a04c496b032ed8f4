"""Writes the model to a folder, or logs it in a run through the client alone: no active run, no registry."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlove_mlflow._version import __version__
from greenlove_mlflow.core.quantity import COLUMNS
from greenlove_mlflow.serving.carried import copy_light_part
from greenlove_mlflow.serving.facts import FACTS_ARTIFACT, ModelFacts
from greenlove_mlflow.serving.gather import gather_facts
from greenlove_mlflow.serving.signature import INPUTS, PARAMS, REQUIRED_INPUTS, make_signature

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from greenlove_mlflow.core.account.run_facts import RunFacts
    from greenlove_mlflow.core.offers.offer import PriceSheet

MODEL_NAME = "greenlove-estimator"
NOTE_TAG = "mlflow.note.content"
# Stated, because inferring them takes four seconds and a subprocess.
PIP_REQUIREMENTS = ("mlflow-skinny>=3.1", "pandas>=2.0", "pyarrow>=14")
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
        (f"**Columns out:** {figures}, each with `_lo` and `_hi` (95 % range); `rented_gpu_count`, `used_gpu_count`, "
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
