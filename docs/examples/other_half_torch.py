"""Two networks in PyTorch, for `other_half.py`: modules, autograd and `torch.optim`."""

from typing import Any

import torch
from metricops.adapters.torch import NPairsEmbeddingLoss


class Model(torch.nn.Module):
    """A network for top halves, one for bottom halves, and the loss of both."""

    def __init__(self, hidden: int, numbers: int, loss: dict[str, Any]) -> None:
        super().__init__()
        self.top = network(hidden, numbers)
        self.bottom = network(hidden, numbers)
        self.loss = NPairsEmbeddingLoss(**loss)

    def forward(self, tops: torch.Tensor, bottoms: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch: row i of one belongs to row i of the other."""
        loss: torch.Tensor = self.loss(self.top(tops), self.bottom(bottoms))
        return loss


def network(hidden: int, numbers: int) -> torch.nn.Module:
    """Return a network with one hidden layer."""
    return torch.nn.Sequential(
        torch.nn.Linear(32, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, numbers)
    )


class Networks:
    """The model and its optimiser."""

    def __init__(
        self,
        hidden: int,
        numbers: int,
        learning_rate: float,
        loss: dict[str, Any],
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self.model = Model(hidden, numbers, loss)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=learning_rate)

    def step(self, tops: Any, bottoms: Any) -> float:
        """Take one step downhill; return the loss before it."""
        self.optimiser.zero_grad()
        loss = self.model(torch.tensor(tops), torch.tensor(bottoms))
        loss.backward()
        self.optimiser.step()
        return float(loss.item())

    @torch.no_grad()
    def embed(self, tops: Any, bottoms: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings of top halves and of bottom halves."""
        model = self.model
        return model.top(torch.tensor(tops)), model.bottom(torch.tensor(bottoms))
