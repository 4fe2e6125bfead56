"""Dtypes described in words, and which one may replace another."""

from typing import NamedTuple

LONG_DOUBLES = ("longdouble", "float96", "float128")  # by machine
# Which dtype replaces one that a library or a device does not have.
INSTEAD = {
    "float16": "float32",
    "bfloat16": "float32",
    **dict.fromkeys(LONG_DOUBLES, "float64"),
    "float64": "float32",
    "int64": "int32",
    "uint64": "uint32",
}


class Dtype(NamedTuple):
    """A dtype in words."""

    name: str
    kind: str  # "float", "int", "bool", "complex" or "other"
    bits: int
    is_wide: bool  # whether arrays of this dtype are computed in it, as they are

    @property
    def signed(self) -> bool:
        """Return whether integers of this dtype may be negative."""
        return not self.name.startswith("uint")


def describe(name: str, native: bool = True) -> Dtype:
    """Return the dtype called `name` in words; `native`: in the usual byte order."""
    if name == "longdouble":
        return Dtype(name, "float", 128, native)
    stem = name.rstrip("0123456789")
    kinds = {"float": "float", "bfloat": "float", "int": "int", "uint": "int"}
    digits = name[len(stem) :]
    if stem in kinds and digits:
        kind, bits = kinds[stem], int(digits)
        return Dtype(name, kind, bits, kind == "float" and bits >= 32 and native)
    kind = stem if stem in ("bool", "complex") else "other"
    return Dtype(name, kind, 8, False)
