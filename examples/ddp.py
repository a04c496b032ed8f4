"""Distributed data parallel training on two or more ranks, each of which tracks it; one run holds the whole.

torchrun --nproc-per-node 2 examples/ddp.py --epochs 30
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import greenlove_mlflow as greenlove


def main(epochs: int) -> None:
    distributed.init_process_group("gloo")  # "nccl" on GPUs
    torch.manual_seed(0)
    digits = load_digits()
    dataset = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16.0, torch.tensor(digits.target))
    sampler: DistributedSampler[TensorDataset] = DistributedSampler(dataset)
    loader = DataLoader(dataset, batch_size=32, sampler=sampler)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    with greenlove.track(model, optimizer, criterion, loader, epochs=epochs, run_name="example-ddp") as run:
        for epoch in run.epochs():
            sampler.set_epoch(epoch)
            for inputs, labels in loader:
                optimizer.zero_grad()
                loss = criterion(model(inputs), labels)
                loss.backward()
                optimizer.step()
    if distributed.get_rank() == 0:
        print(run)
        print(f"kept in MLflow as run {run.run_id}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    main(parser.parse_args().epochs)
