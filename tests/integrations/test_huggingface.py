"""``TrainerCallback`` in the real ``Trainer``: nothing of the training changes, and its run holds what happened."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

import greenlove_mlflow as greenlove

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

SAMPLES, BATCH = 96, 8


def release(package: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in package.__version__.split(".")[:2])


class Pairs(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        return {"input_ids": torch.randint(0, 50, (8,), generator=generator), "labels": torch.tensor(index % 2)}


def train(folder: Path, callbacks: list[Any], *, resume: str | None = None, data: Any = None, **options: Any) -> Any:
    transformers.set_seed(5)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=2
    )
    options = {"report_to": "none", "num_train_epochs": 3, "save_strategy": "no", **options}
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=5,
        **options,
    )
    model = transformers.BertForSequenceClassification(config)
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=data or Pairs(), eval_dataset=Pairs(), callbacks=callbacks
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def a_callback(**options: Any) -> Any:
    return greenlove.TrainerCallback(country="DE", log_model=False, saved_view=False, **options)


def test_weights_are_as_without_it_and_the_run_holds_what_happened(store: str, tmp_path: Path) -> None:
    callback = a_callback()
    with_it, without = train(tmp_path, [callback]), train(tmp_path, [])
    pairs = zip(with_it.model.parameters(), without.model.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert callback.run.step_count == 3 * SAMPLES / BATCH
    assert callback.run.outcome.completed
    run = MlflowClient().get_run(callback.run.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["green/actual/time_h"] > 0.0
    assert run.data.params["green.steps"] == "36"


def test_the_run_that_report_to_mlflow_opens_is_joined(store: str, tmp_path: Path) -> None:
    callback = a_callback()
    train(tmp_path, [callback], report_to="mlflow")
    experiments = [each.experiment_id for each in MlflowClient().search_experiments()]
    runs = MlflowClient().search_runs(experiments)
    assert [run.info.run_id for run in runs] == [callback.run.run_id]
    assert {"loss", "green/actual/time_h"} <= set(runs[0].data.metrics)


def test_max_steps_and_accumulation_count_optimizer_steps(store: str, tmp_path: Path) -> None:
    callback = a_callback()
    train(tmp_path, [callback], max_steps=10, gradient_accumulation_steps=2)
    assert callback.run.step_count == 10
    assert callback.run.outcome.completed


def test_evaluation_is_left_out_of_the_steps(store: str, tmp_path: Path) -> None:
    callback = a_callback()
    trainer = train(tmp_path, [callback], eval_strategy="epoch")
    assert callback.run.outcome.completed
    assert callback.run.step_count == trainer.state.global_step


class Waits(transformers.TrainerCallback):  # type: ignore[misc]
    """Gives the estimate the time that a training of minutes gives it."""

    def __init__(self, callback: Any) -> None:
        self.callback = callback

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.callback.run.wait(60.0)


def test_a_spent_limit_stops_the_training(store: str, tmp_path: Path) -> None:
    callback = a_callback(limits=greenlove.Limits(hours=1e-9))
    trainer = train(tmp_path, [callback, Waits(callback)], num_train_epochs=40)
    assert trainer.state.global_step < 40 * SAMPLES / BATCH
    assert MlflowClient().get_run(callback.run.run_id).data.tags["greenlove.status"] == "stopped"


needs_readable_checkpoints = pytest.mark.skipif(
    release(transformers) < (4, 48) and release(torch) >= (2, 6),
    reason="this Transformers cannot load the checkpoints of this PyTorch",
)


class Breaks(transformers.TrainerCallback):  # type: ignore[misc]
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 20:
            raise RuntimeError("the training broke")


@needs_readable_checkpoints
def test_a_broken_training_has_failed_and_goes_on_in_the_run_of_its_checkpoint(store: str, tmp_path: Path) -> None:
    first, second = a_callback(), a_callback()
    with pytest.raises(RuntimeError, match="broke"):
        train(tmp_path, [first, Waits(first), Breaks()], save_strategy="steps", save_steps=12)
    first._followed.abandon()  # as the end of the process does
    assert MlflowClient().get_run(first.run.run_id).info.status == "FAILED"
    train(tmp_path, [second], resume=str(tmp_path / "checkpoint-12"))
    assert second.run.run_id == first.run.run_id
    assert second.run.step_count == 36 - 12
    laps = MlflowClient().get_metric_history(second.run.run_id, "green/train/lap_s")
    assert sorted(point.step for point in laps) == [0, 1, 2]
    assert MlflowClient().get_run(second.run.run_id).info.status == "FINISHED"


def test_the_best_model_is_loaded_and_evaluated_as_without_it(store: str, tmp_path: Path) -> None:
    options = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    callback = a_callback()
    with_it, without = train(tmp_path / "with", [callback], **options), train(tmp_path / "without", [], **options)
    assert all(torch.equal(*pair) for pair in zip(with_it.model.parameters(), without.model.parameters(), strict=True))
    told = [[each.get(name) for name in ("loss", "eval_loss", "grad_norm")] for each in with_it.state.log_history]
    assert told == [
        [each.get(name) for name in ("loss", "eval_loss", "grad_norm")] for each in without.state.log_history
    ]
    assert callback.run.outcome.completed


@pytest.mark.parametrize(("options", "laps"), [({"max_steps": 45}, 3.75), ({"num_train_epochs": 2.5}, 2.5)])
def test_a_part_of_an_epoch_is_planned_as_such(
    store: str, tmp_path: Path, options: dict[str, Any], laps: float
) -> None:
    callback = a_callback()
    train(tmp_path, [callback], **options)
    assert callback.run.plan.lap_count == laps
    assert callback.run.outcome.completed
    assert callback.run.step_count == laps * SAMPLES / BATCH


class Stream(torch.utils.data.IterableDataset[Any]):
    def __iter__(self) -> Any:
        pairs = Pairs()
        return (pairs[index] for index in range(SAMPLES))


def test_a_stream_has_laps_of_several_steps(store: str, tmp_path: Path) -> None:
    callback = a_callback()
    trainer = train(tmp_path, [callback], data=Stream(), max_steps=110)
    assert trainer.state.global_step == callback.run.step_count == 110
    assert callback.run.plan.steps_per_lap == 3
    assert callback.run.outcome.completed


def test_no_epochs_at_all_are_nothing_to_fail_by(store: str, tmp_path: Path) -> None:
    assert train(tmp_path, [a_callback()], num_train_epochs=0).state.global_step == 0


def test_an_evaluation_before_the_first_step_is_no_part_of_it(store: str, tmp_path: Path) -> None:
    class Slow(transformers.TrainerCallback):  # type: ignore[misc]
        def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not state.global_step:
                time.sleep(0.1)

    callback = a_callback()
    train(tmp_path, [callback, Slow()], eval_on_start=True, eval_strategy="epoch")
    assert callback.run.log.first_contact_steps_s[0] < 0.1 * SAMPLES / BATCH
    assert callback.run.outcome.time_s > 0.1 * SAMPLES / BATCH


def test_evaluations_within_an_epoch_are_all_planned(store: str, tmp_path: Path) -> None:
    callback = a_callback()
    train(tmp_path, [callback], num_train_epochs=6, eval_strategy="steps", eval_steps=4)
    assert callback.run.estimate.workload.validation_s == pytest.approx(3.0 * callback.run.log.validation_s)


def test_a_callback_given_twice_keeps_one_run(store: str, tmp_path: Path) -> None:
    train(tmp_path, [a_callback(), a_callback()])
    (run,) = MlflowClient().search_runs(["0"])
    assert run.info.status == "FINISHED"


def test_the_trainer_of_trl_is_followed_as_any(store: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    tokenizers = pytest.importorskip("tokenizers")
    words = ["<pad>", "<eos>", *(f"w{number}" for number in range(60))]
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: at for at, word in enumerate(words)}, "<pad>"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>")
    rows = [" ".join(f"w{row * column % 60}" for column in range(1, 12)) for row in range(64)]

    def weights_after(callbacks: list[Any]) -> list[torch.Tensor]:
        transformers.set_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            pad_token_id=0,
            eos_token_id=1,
        )
        model = transformers.LlamaForCausalLM(config)
        arguments = trl.SFTConfig(
            output_dir=str(tmp_path),
            num_train_epochs=3,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        )
        data = datasets.Dataset.from_dict({"text": rows})
        trl.SFTTrainer(
            model=model, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=callbacks
        ).train()
        return [each.detach() for each in model.parameters()]

    bare, callback = weights_after([]), a_callback()
    assert all(torch.equal(one, other) for one, other in zip(bare, weights_after([callback]), strict=True))
    assert (callback.run.step_count, callback.run.lap_count) == (12, 3)
    assert MlflowClient(store).get_run(callback.run.run_id).info.status == "FINISHED"
