"""Trainers of frameworks with their callback, each with data and a model made here."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import torch
from loops_common import BATCH, EPOCHS, QUIET, STEPS, WIDTH, Left, Part, data, digest, network

import greenlove_mlflow as greenlove


def of(part: Part, make: Any, **options: Any) -> Any:
    """The callback, or None where the part runs bare."""
    return make(limits=part.limits, **QUIET, **options) if part.is_tracked else None


def lightning(part: Part) -> Left:
    import lightning.pytorch as root

    return _lightning(part, root)


def pytorch_lightning(part: Part) -> Left:
    import pytorch_lightning as root

    return _lightning(part, root)


def _lightning(part: Part, root: ModuleType) -> Left:
    losses: list[float] = []

    class Net(root.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any, index: int) -> Any:
            loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            losses.append(loss.item())
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    class Watcher(root.Callback):  # type: ignore[name-defined,misc]
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            part.say(callback and callback.run)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            part.kill_if_due(callback and callback.run, trainer.current_epoch, batch_idx)

    root.seed_everything(1)
    callback = of(part, greenlove.LightningCallback)
    checkpoints = root.callbacks.ModelCheckpoint(dirpath=part.folder / "checkpoints", save_last=True)
    trainer = root.Trainer(
        max_epochs=EPOCHS,
        callbacks=[each for each in (callback, Watcher(), checkpoints) if each],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    loader = torch.utils.data.DataLoader(data(), BATCH, shuffle=True)
    few = torch.utils.data.DataLoader(torch.utils.data.Subset(data(), range(4 * BATCH)), BATCH)
    model = Net()
    trainer.fit(model, loader, few, ckpt_path=part.folder / "checkpoints" / "last.ckpt" if part.run_id else None)
    metrics = [*losses, *(float(each) for each in trainer.callback_metrics.values())]
    return Left(
        weights=digest(model.parameters()), metrics=metrics, step_count=len(losses), run=callback and callback.run
    )


def huggingface(part: Part) -> Left:
    return _huggingface(part, report_to="none")


def huggingface_mlflow(part: Part) -> Left:
    # Its own logger continues a run only by this variable.
    if part.run_id:
        os.environ["MLFLOW_RUN_ID"] = part.run_id
    try:
        return _huggingface(part, report_to="mlflow")
    finally:
        os.environ.pop("MLFLOW_RUN_ID", None)


class Sentences(torch.utils.data.Dataset[Any]):
    """Random tokens of a length that makes a step some milliseconds long."""

    def __len__(self) -> int:
        return STEPS * 16

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        return {"input_ids": torch.randint(0, 50, (16,), generator=generator), "labels": torch.tensor(index % 2)}


def _arguments(part: Part, kind: Any, **options: Any) -> Any:
    return kind(
        output_dir=str(part.folder / "out"),
        per_device_train_batch_size=16,
        num_train_epochs=EPOCHS,
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=10,
        save_strategy="epoch" if part.is_killed else "no",
        **options,
    )


def _watcher(part: Part, callback: Any) -> Any:
    import transformers

    class Watcher(transformers.TrainerCallback):  # type: ignore[name-defined,misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            part.say(callback and callback.run)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            done = state.global_step - 1
            part.kill_if_due(callback and callback.run, done // STEPS, done % STEPS)

    return Watcher()


def _left(trainer: Any, callback: Any) -> Left:
    logged = [float(each[name]) for each in trainer.state.log_history for name in ("loss", "grad_norm") if name in each]
    return Left(
        weights=digest(trainer.model.parameters()),
        metrics=logged,
        step_count=trainer.state.global_step,
        run=callback and callback.run,
    )


def _huggingface(part: Part, report_to: str) -> Left:
    import transformers

    transformers.set_seed(5)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128, num_labels=2
    )
    callback = of(part, greenlove.TrainerCallback)
    trainer = transformers.Trainer(
        model=transformers.BertForSequenceClassification(config),
        args=_arguments(part, transformers.TrainingArguments, report_to=report_to),
        train_dataset=Sentences(),
        callbacks=[each for each in (callback, _watcher(part, callback)) if each],
    )
    trainer.train(resume_from_checkpoint=str(_checkpoint(part)) if part.run_id else None)
    return _left(trainer, callback)


def _checkpoint(part: Part) -> Any:
    return max((part.folder / "out").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def trl(part: Part) -> Left:
    """Supervised fine-tuning of a tiny model, its tokens made here."""
    import transformers
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from trl import SFTConfig, SFTTrainer

    transformers.set_seed(5)
    words = {f"w{index}": index for index in range(48)} | {"<pad>": 48, "<eos>": 49}
    raw = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")
    texts = [" ".join(f"w{(index * 7 + place * place) % 48}" for place in range(16)) for index in range(STEPS * 16)]
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=48,
        eos_token_id=49,
    )
    callback = of(part, greenlove.TrainerCallback)
    trainer = SFTTrainer(
        model=transformers.LlamaForCausalLM(config),
        args=_arguments(
            part, SFTConfig, report_to="none", max_length=32, dataset_num_proc=None, bf16=False,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_dict({"text": texts}),
        processing_class=tokenizer,
        callbacks=[each for each in (callback, _watcher(part, callback)) if each],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=str(_checkpoint(part)) if part.run_id else None)
    return _left(trainer, callback)


def keras(part: Part) -> Left:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as root

    class Watcher(root.callbacks.Callback):  # type: ignore[name-defined,misc]
        epoch = 0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch
            part.say(callback and callback.run)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            part.kill_if_due(callback and callback.run, self.epoch, batch)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.save_weights(part.folder / "last.weights.h5")

    root.utils.set_random_seed(7)
    model = root.Sequential(
        [root.Input((64,)), root.layers.Dense(WIDTH), root.layers.Dropout(0.1), root.layers.Dense(10)]
    )
    loss = root.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    inputs, targets = (each.numpy() for each in data().tensors)
    if part.run_id:
        model.load_weights(part.folder / "last.weights.h5")
    callback = of(part, greenlove.KerasCallback, batch_size=BATCH, **({"run_id": part.run_id} if part.run_id else {}))
    fitted = model.fit(
        inputs,
        targets,
        batch_size=BATCH,
        epochs=EPOCHS,
        initial_epoch=part.first_epoch,
        verbose=0,
        callbacks=[each for each in (callback, Watcher()) if each],
    )
    metrics = [float(value) for values in fitted.history.values() for value in values]
    run = callback and callback.run
    count = len(fitted.history["loss"]) * STEPS
    return Left(weights=digest(model.get_weights()), metrics=metrics, step_count=count, run=run)
