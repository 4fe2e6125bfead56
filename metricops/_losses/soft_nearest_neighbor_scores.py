"""What the scores of the soft nearest neighbour loss are: cosines or distances.

On squared distances the score is ``-|a - c|**2 / t = 2 a · c / t - |c|**2 / t - ...``:
what is left depends on the row alone, and cancels. The second term is a bias of the
candidate. Both sides are taken relative to the mean of the candidates, which changes no
distance: so digits depend on how far the rows reach from there, not on where they are.
"""

from typing import Any, cast

from metricops import _checks
from metricops._frameworks import Arrays, Library, placed
from metricops._losses.embeddings import admitted_within
from metricops._losses.embeddings_call import Call, solvable
from metricops._losses.solvable import Solvable
from metricops._losses.two_sided import LogShares
from metricops._panels.operation import value_and_gradients
from metricops._panels.records import Config, Given, Labels, Wanted
from metricops._similarity.metrics import canonical_among
from metricops._typing import Array

METRICS = ("squared_euclidean", "cosine")


def scored(**given: Any) -> Call:
    """Return a call whose scores are of its metric, having checked its arguments."""
    call, squared = _admitted(**given)
    if not squared:
        return call
    moved = _on_squares(call.inputs.library, call.config, call.given)
    return Call(call.inputs, *moved, call.labels)


def solvable_scores(**given: Any) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    call, squared = _admitted(**given)
    found = solvable(call)
    return found._replace(solve=_solve_on_squares) if squared else found


def _admitted(metric: Any, normalize: Any, **given: Any) -> tuple[Call, bool]:
    """Return a call of inner products, and whether distances are to be squared."""
    squared = canonical_among(METRICS, metric) != "cosine"
    units = _checks.check_bool("normalize", normalize) or not squared
    call = admitted_within(LogShares(), normalize=units, **given)
    return call, squared


def _on_squares(lib: Library, config: Config, given: Given) -> tuple[Config, Given]:
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


def _solve_on_squares(
    lib: Library, static: tuple[Config, Any], given: Given, labels: Labels
) -> tuple[Array, Arrays]:
    """Return the loss of squared distances, and its gradients that are wanted."""
    config, flags = static
    asked = Wanted(*flags)
    inner, moved = _on_squares(lib, config, given)
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
