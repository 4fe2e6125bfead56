"""What the modules of PyTorch are made of."""

from typing import Any

import torch

from ._options import check_module


class Module(torch.nn.Module):
    """A module whose `repr` shows its arguments."""

    _shown: tuple[str, ...] = ()

    def _check(self, **options: Any) -> None:
        """Raise what any call raises for the options of the module, and for these too.

        A module that is made while Dynamo traces is left to its call, which follows.
        """
        if not torch.compiler.is_compiling():
            check_module(self, **options)

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that `repr` shows: the attributes named in `_shown`."""
        return {name: getattr(self, name) for name in self._shown}

    def extra_repr(self) -> str:
        """Return the arguments as they stand in a call."""
        return ", ".join(f"{name}={x!r}" for name, x in self._arguments().items())
