"""Train an embedding of handwritten digits in several processes of PyTorch.

Each process takes its part of every batch, and its negatives are those of all:

    torchrun --nproc-per-node 2 docs/examples/torch_processes.py --gather ring

The modules need no more than `process_group`, and `DistributedDataParallel` averages
the gradients as it always does. What is printed is the first batch's loss in the
processes and in one alone, which are equal, and recall@k of held-out digits.
"""

import argparse

import torch
import torch.distributed as dist
from metricops.adapters.torch import MetricEmbedding, NPairsEmbeddingLoss
from sklearn.datasets import load_digits
from torch.nn.parallel import DistributedDataParallel

import metricops

TRAINING = 1200
BATCH = 200  # in all processes


class Model(torch.nn.Module):
    """An encoder of digits, and the loss that it is trained with."""

    def __init__(self, group: str | None, gather: metricops.Gather) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(
            torch.nn.Linear(64, 128), torch.nn.ReLU(), MetricEmbedding(128, 8)
        )
        self.loss = NPairsEmbeddingLoss(
            0.2,
            learnable_temperature=True,
            exclude_diagonal=True,
            process_group=group,
            gather=gather,
        )

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of this process's part of a batch."""
        loss: torch.Tensor = self.loss(self.encoder(images), labels=labels)
        return loss


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return all images and labels; those from `TRAINING` on are of other hands."""
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)


def own_part(batch: torch.Tensor) -> torch.Tensor:
    """Return the indices of a batch that this process takes."""
    return batch.tensor_split(dist.get_world_size())[dist.get_rank()]


def whole(loss: torch.Tensor) -> float:
    """Return the mean of the processes' losses, which is that of the whole batch."""
    total = loss.detach().clone()
    dist.all_reduce(total)
    return total.item() / dist.get_world_size()


def train(model: Model, epochs: int, seed: int) -> None:
    """Train `model` in place, as all other processes do."""
    images, labels = (x[:TRAINING] for x in digits())
    parallel = DistributedDataParallel(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.003)
    generator = torch.Generator().manual_seed(seed)  # the same order in each process
    for _ in range(epochs):
        for batch in torch.randperm(TRAINING, generator=generator).split(BATCH):
            own = own_part(batch)
            optimiser.zero_grad()
            parallel(images[own], labels[own]).backward()
            optimiser.step()


def compare(model: Model) -> None:
    """Print the loss of one batch in all processes, and in one alone."""
    images, labels = (x[:BATCH] for x in digits())
    own = own_part(torch.arange(BATCH))
    with torch.no_grad():
        shared = whole(model(images[own], labels[own]))
        alone = Model(None, "all")
        alone.load_state_dict(model.state_dict())
        loss = alone(images, labels).item()
    if dist.get_rank() == 0:
        print(
            f"loss in {dist.get_world_size()} processes {shared:.4f}, in one {loss:.4f}"
        )


def report(name: str, model: Model) -> None:
    """Print recall@k of held-out digits, each searched among the others."""
    if dist.get_rank() != 0:
        return
    images, labels = (x[TRAINING:] for x in digits())
    with torch.no_grad():
        recalls = metricops.recall_at_k(model.encoder(images), labels, k=(1, 5))
    shares = "  ".join(f"@{k} {float(share):.3f}" for k, share in recalls.items())
    print(f"{name:<16} recall  {shares}")


def main() -> None:
    """Train and report, as one of the processes that torchrun starts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gather", choices=("all", "ring"), default="all")
    options = parser.parse_args()
    dist.init_process_group("gloo")
    torch.manual_seed(options.seed)  # the same weights in each process
    model = Model("world", options.gather)
    compare(model)
    report("before training", model)
    train(model, options.epochs, options.seed)
    report("after training", model)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
