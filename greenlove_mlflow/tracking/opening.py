"""Finds or starts the MLflow run for a training: the active run, a new one, a child of either, or a later one."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from greenlove_mlflow.errors import TrackingError
from greenlove_mlflow.tracking.names import (
    KIND_STUDY,
    KIND_TRACK,
    TAG_KIND,
    TAG_PARENT,
    TAG_SCHEMA_VERSION,
    TAG_SPOOL,
)
from greenlove_mlflow.tracking.spool.boundary import OutOfTimeError, Patience, cause, first_line, patiently, say
from greenlove_mlflow.tracking.spool.delivery import find_or_create_experiment
from greenlove_mlflow.tracking.spool.header import Opened, RunToJoin, StudyRun, new_header
from greenlove_mlflow.tracking.spool.mlflow_store import (
    absolute,
    check_address,
    is_http,
    is_reachable,
    is_trouble,
    make_client,
    random_numbers_kept,
    translated,
    without_credentials,
)
from greenlove_mlflow.tracking.values import opening_tags

if TYPE_CHECKING:
    from mlflow import ActiveRun
    from mlflow.entities import Run
    from typing_extensions import Unpack

logger = logging.getLogger(__name__)

# What SQLite says, through SQLAlchemy and MLflow, when another process has locked its file for seconds.
_LOCKED = "database is locked"

# A server that passes its health check but answers no request for this long is given up, and training goes on offline;
# each answer resets the clock. With three seconds for the health check, that stays below ten.
ENTRY_SILENCE_S = 6.0


class RunOptions(TypedDict, total=False):
    """Which run a training, or a study, is recorded in.

    Args:
        experiment: Name of the experiment for a new run; the one MLflow is set to when not given.
        run_name: Name of a new run.
        nested: True forces a child of the active run, False forbids one; by default, a run that already holds a
            training gets a child for the next.
        run_id: Id of a run to resume, if none is active.
        continues: Whether this continues the training that the run already holds, rather than starting another.
        join: A run opened by other code, to use instead of the active one.
        kind: What the run is for, a training or a study.
    """

    experiment: str | None
    run_name: str | None
    nested: bool | None
    run_id: str | None
    continues: bool
    join: RunToJoin | None
    kind: str


def find_run(*, study: StudyRun | None = None, **options: Unpack[RunOptions]) -> Opened:
    """Open the run for a training; offline, with one warning, when the store does not answer.

    Args:
        study: The run of the study that the training is a trial of.
        **options: Which run it is.

    Raises:
        TrackingError: If the store answers but no run can be opened in it.
    """
    import mlflow

    join = options.get("join")
    uri = mlflow.get_tracking_uri() if join is None or join.store_uri is None else join.store_uri
    check_address(uri)
    plan = _Plan(uri=uri, active=mlflow.active_run() if join is None else None, study=study, **options)
    if not is_reachable(uri):
        return _go_offline(plan, "does not answer")
    try:
        if is_http(uri):
            return _find_patiently(plan)
        with random_numbers_kept():
            return _find_online(plan, lambda: None)
    except TrackingError:
        raise
    except Exception as error:  # noqa: BLE001 - a store may raise anything: offline, or one kind of error
        # Before anything has run, whatever MLflow raises reaches the caller as one kind of error.
        if is_http(uri) and is_trouble(error):
            return _go_offline(plan, f"does not do its work now ({first_line(error)})")
        if _LOCKED in str(error):
            _forget_half_opened(plan)
            return _go_offline(plan, f"is locked by somebody else ({first_line(error)})")
        raise translated(error, uri) from cause(error)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The arguments of ``find_run``, and the spool's id, by which a run that was created too late is found again."""

    uri: str
    active: ActiveRun | None
    experiment: str | None = None
    run_name: str | None = None
    nested: bool | None = None
    join: RunToJoin | None = None
    run_id: str | None = None
    continues: bool = False
    study: StudyRun | None = None
    kind: str = KIND_TRACK
    spool_id: str = field(default_factory=lambda: uuid.uuid4().hex)


def _find_patiently(plan: _Plan) -> Opened:
    """Find the run over a network, in a thread that can be abandoned: MLflow's client would retry for four minutes."""
    patience = Patience(ENTRY_SILENCE_S)
    started: list[ActiveRun] = []

    def find() -> Opened:
        stack = _active_runs()
        stack[:] = [] if plan.active is None else [plan.active]
        try:
            opened = _find_online(plan, lambda: _renew(patience))
            started.extend(run for run in stack if run.info.run_id in opened.ours)
            return opened
        finally:
            stack.clear()  # MLflow keeps a stack per thread; this one ends

    opened = patiently(patience, find)
    _active_runs().extend(started)
    return opened


def _renew(patience: Patience) -> None:
    if patience.is_over:
        raise OutOfTimeError("this thread was left behind")
    patience.renew()


def leave_runs(run_ids: tuple[str, ...], status: str, *, is_sent: bool) -> None:
    """Take the runs that were started here off MLflow's stack of active runs.

    If the store has taken everything, the status included, ``end_run`` does it. If not, ``end_run`` would hang for
    minutes, now and again at exit, so the runs leave the stack without a request to the store.

    Args:
        run_ids: Ids of the runs, innermost first.
        status: MLflow's status to end them with.
        is_sent: Whether the store has taken everything.
    """
    import mlflow

    for run_id in run_ids:
        active = mlflow.active_run()
        if is_sent and active is not None and active.info.run_id == run_id:
            with _run_of_environment_kept(but=run_id):
                mlflow.end_run(status)
        else:
            forget_run(run_id)


def _forget_half_opened(plan: _Plan) -> None:
    """Take a run that was started, but not found again, off MLflow's stack; the spool finds it by its tag."""
    runs = _active_runs()
    runs[:] = [run for run in runs if plan.active is not None and run.info.run_id == plan.active.info.run_id]


def forget_run(run_id: str) -> None:
    """Take a run off MLflow's stack of active runs, without a request to the store."""
    runs = _active_runs()
    runs[:] = [run for run in runs if run.info.run_id != run_id]


def _active_runs() -> list[ActiveRun]:
    """MLflow's stack of active runs in this thread; an unused empty list where MLflow has none."""
    from mlflow.tracking import fluent

    stack: Any = getattr(fluent, "_active_run_stack", None)
    runs = stack.get() if hasattr(stack, "get") else stack
    if isinstance(runs, list):
        return runs
    logger.debug("this MLflow keeps its active runs elsewhere")
    return []


def _find_online(plan: _Plan, answered: Callable[[], None]) -> Opened:  # one request after the other
    """Find or start the run; ``answered`` is called after each response of the store."""
    import mlflow

    client = make_client(plan.uri)
    ours: list[str] = []
    experiment_id = None if plan.experiment is None else _experiment_id(client, plan.experiment)
    answered()
    run: Run | None = None
    tags = {TAG_SPOOL: plan.spool_id}
    study = plan.study or _study_of_environment(plan, client)
    if plan.join is not None:
        run = client.get_run(plan.join.run_id)
    elif plan.active is None:
        run = _start_run(plan, study, experiment_id, tags)
        ours.append(run.info.run_id)
    elif experiment_id not in (None, plan.active.info.experiment_id) and not plan.nested:
        say(f"experiment={plan.experiment!r} is not used: the training joins the active run")
    answered()
    run = client.get_run((run or plan.active).info.run_id)  # type: ignore[union-attr]
    answered()
    earlier_kind = run.data.tags.get(TAG_KIND, "")
    if earlier_kind == KIND_STUDY and plan.kind != KIND_STUDY and plan.join is None:
        # A study's run holds no training itself.
        run = mlflow.start_run(plan.run_id, experiment_id, plan.run_name, nested=True, tags=tags)
        ours.insert(0, run.info.run_id)
    elif _needs_child(plan, run):
        run = mlflow.start_run(experiment_id=experiment_id, run_name=plan.run_name, nested=True, tags=tags)
        ours.insert(0, run.info.run_id)
        earlier_kind = ""
    answered()
    header = new_header(
        spool_id=plan.spool_id,
        store_uri=without_credentials(absolute(plan.uri)),
        run_id=run.info.run_id,
        is_ours=bool(ours),
        parents=list(ours[1:]),
        experiment_id=run.info.experiment_id,
        run_name=run.info.run_name,
    )
    client.log_batch(
        run.info.run_id, tags=_run_tags({**opening_tags(plan.kind), **_parent_tag(study, run)}), synchronous=True
    )
    return Opened(
        store_uri=absolute(plan.uri),
        header=header,
        experiment_id=run.info.experiment_id,
        is_offline=False,
        ours=tuple(ours),
        started_ms=run.info.start_time,
        earlier_kind=earlier_kind,
    )


def _study_of_environment(plan: _Plan, client: Any) -> StudyRun | None:
    """The study whose run MLFLOW_RUN_ID names, in a process that was started for trials of it; else None."""
    from mlflow.environment_variables import MLFLOW_RUN_ID

    named = _setting(MLFLOW_RUN_ID)
    if named is None or plan.run_id is not None or plan.active is not None or plan.kind == KIND_STUDY:
        return None
    run = client.get_run(named)
    is_study = run.data.tags.get(TAG_KIND) == KIND_STUDY
    return StudyRun(run_id=named, experiment_id=run.info.experiment_id) if is_study else None


def _start_run(plan: _Plan, study: StudyRun | None, experiment_id: str | None, tags: dict[str, str]) -> Run:
    """A new run, or the one to resume; a trial of a study becomes its child."""
    import mlflow
    from mlflow.environment_variables import MLFLOW_RUN_ID

    if study is None or study.run_id is None:
        started: Run = mlflow.start_run(
            run_id=plan.run_id, experiment_id=experiment_id, run_name=plan.run_name, tags=tags
        )
        return started
    with _run_of_environment_kept():
        variable: Any = MLFLOW_RUN_ID
        variable.unset()  # MLflow would resume the study's own run
        return mlflow.start_run(
            run_id=plan.run_id,
            experiment_id=experiment_id or study.experiment_id,
            run_name=plan.run_name,
            tags={**tags, TAG_PARENT: study.run_id},
        )


@contextlib.contextmanager
def _run_of_environment_kept(*, but: str = "") -> Iterator[None]:
    """A block after which MLFLOW_RUN_ID is what it was: MLflow clears it, and it may name the study of the next trial.

    Args:
        but: Id of a run that ends in the block, and is not to be resumed.
    """
    from mlflow.environment_variables import MLFLOW_RUN_ID

    variable: Any = MLFLOW_RUN_ID
    named = _setting(variable)
    try:
        yield
    finally:
        if named is not None and named != but:
            variable.set(named)


def _needs_child(plan: _Plan, run: Run) -> bool:
    """Whether the training gets a child of the run, which holds another already, or as the caller asked."""
    is_same_study = plan.kind == KIND_STUDY and plan.active is None and run.data.tags.get(TAG_KIND) == KIND_STUDY
    holds_one = TAG_SCHEMA_VERSION in run.data.tags and plan.join is None and not plan.continues and not is_same_study
    return (plan.nested is None and holds_one) or bool(plan.nested and plan.active is not None)


def _parent_tag(study: StudyRun | None, run: Run | None = None) -> dict[str, str]:
    """The tag that makes a new run, or one of other code that is nobody's child, a child of the study."""
    parent = None if study is None else study.run_id
    has_other = run is not None and (parent == run.info.run_id or TAG_PARENT in run.data.tags)
    return {} if parent is None or has_other else {TAG_PARENT: parent}


def _go_offline(plan: _Plan, why: str) -> Opened:
    from mlflow.environment_variables import MLFLOW_RUN_ID

    say(
        f"MLflow at {without_credentials(plan.uri)} {why}. Training continues offline: everything is kept on this "
        "machine and sent by `greenlove recover`, or by the next greenlove.track, once the server is back"
    )
    run_id = plan.active.info.run_id if plan.active is not None else plan.run_id or _setting(MLFLOW_RUN_ID)
    if plan.study is not None and run_id == plan.study.run_id:
        run_id = plan.run_id  # a trial is a run of its own
    run_id = run_id if plan.join is None else plan.join.run_id
    experiment_id, experiment_name = _intended_experiment(plan.experiment)
    header = new_header(
        spool_id=plan.spool_id,
        store_uri=without_credentials(absolute(plan.uri)),
        run_id=run_id,
        is_ours=run_id is None or (plan.active is None and plan.join is None),
        experiment_id=experiment_id,
        experiment_name=experiment_name,
        run_name=plan.run_name,
        tags={} if run_id else {**_context_tags(), **opening_tags(plan.kind), **_parent_tag(plan.study)},
    )
    return Opened(
        store_uri=absolute(plan.uri),
        header=header,
        experiment_id=None,
        is_offline=True,
        ours=(),
        started_ms=header.created_ms,
    )


def _intended_experiment(experiment: str | None) -> tuple[str | None, str | None]:
    """Id and name of the experiment that ``start_run`` would have used, as far as known without the store."""
    from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME
    from mlflow.tracking import fluent

    if experiment is not None:
        return None, experiment
    if (chosen := getattr(fluent, "_active_experiment_id", None)) is not None:
        return str(chosen), None
    if name := _setting(MLFLOW_EXPERIMENT_NAME):
        return None, name
    return _setting(MLFLOW_EXPERIMENT_ID), None


def _setting(variable: Any) -> str | None:
    """The value of one of MLflow's environment variables."""
    value: str | None = variable.get()
    return value


def _context_tags() -> dict[str, str]:
    """The tags for user, source and commit that ``start_run`` would have set."""
    try:
        from mlflow.tracking.context.registry import resolve_tags

        return {key: str(value) for key, value in resolve_tags().items()}
    except Exception as error:  # noqa: BLE001 - optional tags; third-party providers may raise anything
        logger.debug("MLflow's context tags are left out: %s", error)
        return {}


def _experiment_id(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the experiment {name!r} is deleted; restore it with "
            f"`mlflow experiments restore -x {found.experiment_id}` or name another"
        )
    return find_or_create_experiment(client, name)


def _run_tags(tags: dict[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tags.items()]
