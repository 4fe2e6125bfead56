"""What PyTorch calls at the end of its own import, if metricops is installed.

A program saved by `torch.export.save` can be loaded once its operators are registered,
in whichever order metricops and PyTorch were imported. This module stands outside of
the package so that PyTorch does not import metricops for those who do not use it.
"""

import importlib
import sys


def register() -> None:
    """Register the operators of metricops, if that is imported."""
    if "metricops" in sys.modules:
        importlib.import_module("metricops._frameworks.torch.opaque")
