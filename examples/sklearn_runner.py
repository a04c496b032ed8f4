"""scikit-learn: a function that trains over so many samples is all that an estimate needs.

python examples/sklearn_runner.py --epochs 200
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

import greenlove_mlflow as greenlove


def main(epochs: int) -> None:
    digits = load_digits()
    features, targets = np.tile(digits.data / 16.0, (20, 1)), np.tile(digits.target, 20)
    classifier = SGDClassifier(loss="log_loss", random_state=0)

    def train_over(sample_count: int) -> None:
        classifier.partial_fit(features[:sample_count], targets[:sample_count], classes=np.arange(10))

    runner = greenlove.CallableRunner(run=train_over, sample_count=len(features))
    with greenlove.track(runner, epochs=epochs) as run:
        run.train()
    print(run)
    print(f"accuracy {classifier.score(features, targets):.3f}")
    print(f"kept in MLflow as run {run.run_id}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=200)
    main(parser.parse_args().epochs)
