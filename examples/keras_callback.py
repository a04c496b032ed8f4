"""Keras on torch: one callback in ``fit``.

python examples/keras_callback.py --epochs 30
"""

import argparse
import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported

import keras
from sklearn.datasets import load_digits

import greenlove_mlflow as greenlove


def main(epochs: int) -> None:
    keras.utils.set_random_seed(0)
    digits = load_digits()
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(256, "relu"), keras.layers.Dense(10, "softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    callback = greenlove.KerasCallback(batch_size=32)
    model.fit(
        digits.data / 16.0,
        digits.target,
        batch_size=32,
        epochs=epochs,
        validation_split=0.1,
        verbose=2,
        callbacks=[callback],
    )
    print(callback.run)
    print(f"kept in MLflow as run {callback.run.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    main(parser.parse_args().epochs)
