"""What the soft nearest neighbour loss asks of a row of scores.

With the log-sum-exps P of a row's positives and N of its negatives (see `two_sided`),
the share of the positives in the sum of both is ``1 / (1 + exp(N - P))``. So the loss
is ``softplus(N - P)``, which keeps its digits also where it is small.

On squared distances the score is ``-|a - c|**2 / t = 2 a · c / t - |c|**2 / t - ...``:
what is left depends on the row alone, and cancels. The second term is a bias of the
candidate. Both sides are taken relative to the mean of the candidates, which changes no
distance: so it is exact also far from the origin.
"""

from dataclasses import dataclass
from typing import Any, cast

from metricops._frameworks import Arrays, Library, placed
from metricops._frameworks.programs import register_record
from metricops._losses.npairs_terms import finite
from metricops._losses.two_sided import parted, positives_of, slopes_of
from metricops._panels.objective import Objective, Pairs, Slopes
from metricops._panels.operation import value_and_gradients
from metricops._panels.records import Config, Given, Labels, Wanted
from metricops._typing import Array


@dataclass(frozen=True)
class LogShares(Objective):
    """Minus the logarithm of the positives' share of a row."""

    takes_halves = False  # `on_squares` moves the rows, which would round them

    def counted(self, lib: Library, pairs: Pairs) -> Array:
        """Return which rows have a positive, shape (b, 1)."""
        return pairs.total != 0

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        near, far = parted(lib, scores, positives_of(lib, scores, pairs))
        return lib.softplus(far.logs - finite(lib, near.logs))

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        near, far = parted(lib, scores, positives_of(lib, scores, pairs))
        gap = far.logs - finite(lib, near.logs)
        slope = lib.sigmoid(gap)
        return Slopes(lib.softplus(gap), slopes_of(lib, near, far, -slope, slope))


def on_squares(lib: Library, config: Config, given: Given) -> tuple[Config, Given]:
    """Return a call whose scores are squared distances, of one of inner products."""
    number, temperature = config.temperature, given.temperature
    every = given.anchors if given.candidates is None else given.candidates
    shift, squares = 0.0, _squares(lib, config, every)
    if not config.normalize:
        fixed = lib.stop_gradient(every)
        shift = lib.xp.sum(fixed, axis=0, keepdims=True) / lib.count(fixed)
        squares = _squares(lib, config, every - shift)
    moved = given._replace(
        anchors=given.anchors - shift,
        candidates=None if given.candidates is None else every - shift,
        temperature=None if temperature is None else temperature / 2,
        bias=-squares / (temperature if number is None else number),
    )
    return config._replace(temperature=None if number is None else number / 2), moved


def solve_on_squares(
    lib: Library, static: tuple[Config, Any], given: Given, labels: Labels
) -> tuple[Array, Arrays]:
    """Return the loss of squared distances, and its gradients that are wanted."""
    config, flags = static
    asked = Wanted(*flags)
    inner, moved = on_squares(lib, config, given)
    one = given.candidates is None
    by_squares = asked.anchors if one else asked.candidates
    wanted = asked._replace(bias=by_squares or asked.temperature)
    value, saved = value_and_gradients(lib, (inner, wanted), moved, labels)
    found = Given(*placed(wanted, saved))
    number, of_bias = config.temperature, cast(Array, found.bias)
    temperature = given.temperature if number is None else number
    every = moved.anchors if one else cast(Array, moved.candidates)
    if by_squares and not config.normalize:
        name = "anchors" if one else "candidates"
        pulled = every * (of_bias * (-2 / temperature))[:, None]
        found = found._replace(**{name: getattr(found, name) + pulled})
    if asked.temperature:
        by_bias = -lib.xp.sum(of_bias * moved.bias) / temperature
        found = found._replace(temperature=found.temperature / 2 + by_bias)
    each = zip(found, asked, strict=True)
    return value, tuple(x for x, there in each if there)


def _squares(lib: Library, config: Config, x: Array) -> Array:
    """Return the squared lengths of rows; of unit ones, 1, or 0 of a zero row."""
    if not config.normalize:
        return lib.xp.sum(x * x, axis=1)
    return lib.xp.astype(lib.peak(lib.xp.abs(x), 1)[:, 0] > 0, x.dtype)


register_record("log_shares", LogShares)
