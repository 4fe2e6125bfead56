"""The CoSENT loss: similarities in the order of scores."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import float_arrays
from metricops._arguments.options import temperature_of
from metricops._frameworks import Arrays, Library
from metricops._frameworks.public import public
from metricops._losses.cosent_order import fitting, ordered
from metricops._losses.solvable import Solvable, Solved, differentiated, number
from metricops._typing import Array

_NAMES = ("similarities", "temperature")


class Config(NamedTuple):
    """What is static about a call."""

    temperature: float | None  # None where it is an array


def _solve(
    lib: Library, config: Config, arrays: Arrays, constants: Arrays, slopes: bool
) -> Solved:
    """Return the loss, and its gradients."""
    (s, temperature), (scores,) = arrays, constants
    divisor: Any = config.temperature
    wide = lib.exact_dtype(s)
    if temperature is not None:
        divisor = lib.xp.astype(temperature, wide)
    logits = lib.xp.astype(s, wide) / divisor
    found = ordered(lib, logits, scores, slopes)
    loss = lib.xp.astype(found.loss, s.dtype)
    if not slopes:
        return Solved(loss)
    of_s = found.slopes / divisor
    of_temperature = None
    if temperature is not None:
        of_temperature = -lib.xp.sum(of_s * logits)
        of_temperature = lib.xp.astype(of_temperature, s.dtype)
    return Solved(loss, (lib.xp.astype(of_s, s.dtype), of_temperature))


_LOSS = number("cosent", Config, _solve)


def _solvable(similarities: Any, scores: Any, temperature: Any) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    inputs = float_arrays(similarities=similarities)
    lib, s = inputs.library, inputs.first
    lib.check_whole("similarities", s)
    _checks.check_rank("similarities", lib.shape(s), 1, "(n,)")
    scores = fitting(inputs, scores)
    value, array = temperature_of(lib, "similarities", s, temperature)
    arrays, constants = (s, array), (scores,)
    return Solvable(inputs, _LOSS.solve, Config(value), arrays, constants, _NAMES)


@public
@differentiated(_solvable)
def cosent_loss(similarities: Array, scores: Any, *, temperature: Any = 0.05) -> Array:
    """Return the CoSENT loss, which puts similarities into the order of scores.

    Each two samples whose scores differ are compared, and cost most where the one of
    the higher score has the lower similarity [1]_: the loss is ``log(1 + sum(exp((s[i]
    - s[j]) / temperature)))``, over the pairs in which ``scores[i] < scores[j]``. It
    takes a sort and running sums, and no matrix of all pairs.

    Parameters
    ----------
    similarities : array of shape (n,), real floating or integer
        The similarity of the two texts, say, of each sample.
    scores : array or list of shape (n,) or (n, 1), of numbers
        How similar they are to be; only the order matters.
    temperature : float or array of shape ()
        What divides the similarities; positive. An array is differentiable.

    Returns
    -------
    array of shape ()
        Nonnegative, in the dtype of `similarities`; 0 where all scores are equal.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] X. Huang et al., "CoSENT: Consistent Sentence Embedding via Similarity
       Ranking", IEEE/ACM Transactions on Audio, Speech, and Language Processing, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import cosent_loss
    >>> similarities = np.asarray([0.9, 0.8, 0.1])
    >>> round(float(cosent_loss(similarities, [0.5, 1.0, 0.0])), 4)
    2.1269
    """
    return _LOSS.loss_of(_solvable(similarities, scores, temperature))
