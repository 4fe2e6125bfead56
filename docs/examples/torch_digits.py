"""Train an embedding of handwritten digits in an ordinary PyTorch loop.

The modules of `metricops.adapters.torch` go where PyTorch's own go: into a
`DataLoader`'s loop, an optimiser, autocast and a checkpoint. What is printed is
recall@k, the share of held-out digits with one of their class among the k nearest
others; the picture shows some digits and their nearest neighbours.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from metricops.adapters.torch import MetricEmbedding, NPairsEmbeddingLoss
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

import metricops

TRAINING = 1200
BATCH = 100
DTYPES = ("float32", "bfloat16", "float16")


class Model(torch.nn.Module):
    """An encoder of digits, and the loss that it is trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(
            torch.nn.Linear(64, 128), torch.nn.ReLU(), MetricEmbedding(128, 8)
        )
        # The embeddings have unit length. The other digits of a batch are a digit's
        # candidates; it is not one of its own.
        self.loss = NPairsEmbeddingLoss(
            0.2, learnable_temperature=True, exclude_diagonal=True
        )

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        loss: torch.Tensor = self.loss(self.encoder(images), labels=labels)
        return loss


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Return the images and labels to train on, and those of other hands."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    data = images, torch.tensor(labels)
    held = TensorDataset(*(x[TRAINING:] for x in data))
    return TensorDataset(*(x[:TRAINING] for x in data)), held


def train(
    model: Model, data: TensorDataset, epochs: int, dtype: str = "float32"
) -> list[float]:
    """Train `model` in place, under a progress bar; return the losses."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.003)
    half = dtype != "float32"
    # Steps whose gradients overflow are left out, so start low.
    scaler = torch.amp.GradScaler("cpu", 256.0, enabled=dtype == "float16")
    loader = DataLoader(data, BATCH, shuffle=True, drop_last=True)
    losses = []
    with tqdm(total=epochs * len(loader), desc="Training") as progress:
        for _ in range(epochs):
            for images, labels in loader:
                optimiser.zero_grad()
                with torch.autocast("cpu", getattr(torch, dtype), enabled=half):
                    loss = model(images, labels)
                scaler.scale(loss).backward()
                scaler.step(optimiser)
                scaler.update()
                losses.append(loss.item())
                progress.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                progress.update()
    return losses


def draw(images: torch.Tensor, embeddings: torch.Tensor, path: Path) -> None:
    """Write a picture of the first digits, each above its nearest neighbours."""
    _, found = metricops.nearest_neighbors(embeddings, k=5)
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    figure.suptitle("Held-out digits, and below each its nearest neighbours")
    grid = figure.subplots(6, 10)
    for query, column in enumerate(grid.T):
        shown = [query, *found[query].tolist()]
        for axes, index in zip(column, shown, strict=True):
            axes.imshow(images[index].reshape(8, 8).numpy(), cmap="gray_r")
            axes.axis("off")
    figure.savefig(path, dpi=100)


def report(name: str, embeddings: torch.Tensor, labels: torch.Tensor) -> None:
    """Print recall@k of embeddings, each searched among the others."""
    recalls = metricops.recall_at_k(embeddings, labels, k=(1, 5, 10))
    shares = "  ".join(f"@{k} {float(share):.3f}" for k, share in recalls.items())
    print(f"{name:<16} recall  {shares}")


def main() -> None:
    """Train, save, load, and report on what was loaded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--out", type=Path, default=Path("torch_digits.png"))
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    data, held = digits()
    images, labels = held.tensors
    model = Model()
    with torch.no_grad():
        before = model.encoder(images)
    train(model, data, options.epochs, options.dtype)

    checkpoint = options.out.with_suffix(".pt")
    torch.save(model.state_dict(), checkpoint)
    loaded = Model()
    loaded.load_state_dict(torch.load(checkpoint))
    with torch.no_grad():
        after = loaded.encoder(images)
    report("before training", before, labels)
    report("after training", after, labels)
    print(f"temperature learnt: {loaded.loss.temperature.item():.3f}")
    draw(images, after, options.out)
    print(f"checkpoint: {checkpoint}\npicture: {options.out}")


if __name__ == "__main__":
    main()
