"""All triplets of a row's positives and negatives, by a sort and running sums.

A positive at distance p has a positive cost with each negative nearer than p + margin.
With the row in order of p + margin and n, these are the negatives before it: so of c of
them with the sum s, its triplets cost c * (p + margin) - s. A negative pushes on each
positive behind it.
"""

from typing import NamedTuple

from metricops._frameworks import Library
from metricops._panels.terms import Masks, Part
from metricops._typing import Array


class Triples(NamedTuple):
    """What all triplets of each row come to."""

    part: Part
    error: Array  # (b, m): the derivative by the distances


def all_by_all(lib: Library, distances: Array, masks: Masks, margin: float) -> Triples:
    """Return what the hinges of all triplets come to."""
    xp, dtype = lib.xp, distances.dtype
    positives, negatives = (xp.astype(mask, dtype) for mask in masks)
    order = _order(lib, distances, masks, margin)
    before, behind, reach = (
        lib.chosen(x, order) for x in (negatives, positives, distances)
    )
    nearer = lib.running(before)
    # Sums of many, of which differences are taken.
    wide = lib.exact_dtype(distances)
    reach = xp.where(before + behind > 0, xp.astype(reach, wide), 0.0)
    sums = lib.running(xp.astype(before, wide) * reach)
    costs = xp.astype(nearer, wide) * (reach + margin) - sums
    losses = xp.sum(xp.where(behind > 0, costs, 0.0), axis=1)
    total = xp.sum(positives, axis=1, keepdims=True)
    error = behind * nearer - before * (total - lib.running(behind))
    count = total[:, 0] * xp.sum(negatives, axis=1)
    part = Part(xp.astype(losses, dtype), count, xp.sum(behind * nearer, axis=1))
    return Triples(part, lib.chosen(error, inverse(lib, order, dtype)))


def _order(lib: Library, distances: Array, masks: Masks, margin: float) -> Array:
    """Return the columns of each row in order, those that take no part at the end.

    A negative exactly at the margin costs nothing, and stands behind the positive: it
    is moved by less than the step to the next number.
    """
    xp, fixed = lib.xp, lib.stop_gradient(distances)
    step = 0.75 * 2.0 ** (-23 if lib.dtype(distances).bits == 32 else -52)
    tiny = 2.0**-120
    keys = xp.where(masks.negatives, fixed + (xp.abs(fixed) * step + tiny), 0.0)
    keys = xp.where(masks.positives, fixed + margin, keys)
    there = xp.logical_or(masks.positives, masks.negatives)
    keys = xp.where(there, -keys, -float("inf"))
    _, order = lib.largest(keys, lib.size(keys, 1))
    return order


def inverse(lib: Library, order: Array, dtype: object) -> Array:
    """Return where each column stands in an order."""
    places = lib.xp.astype(order, dtype)
    _, inverse = lib.largest(-places, lib.size(order, 1))
    return inverse
