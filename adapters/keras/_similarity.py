"""TensorFlow Similarity's losses: their names, arguments and configs, over metricops.

The module is long, as each loss has its options and their description.
"""

import math
from typing import Any, ClassVar

import keras
from keras import ops
from metricops.adapters import distances

import metricops
from metricops import _checks
from metricops._arguments.options import check_number, check_positive
from metricops._losses.triplet_matrix import triplet_loss_of_matrix

from ._base import EmbeddingLoss, GatheringLoss, Reduction, RowsLoss
from ._inputs import dense

_register = keras.saving.register_keras_serializable
for _cls in (
    distances.CosineDistance,
    distances.EuclideanDistance,
    distances.InnerProductSimilarity,
    distances.ManhattanDistance,
    distances.SNRDistance,
    distances.SquaredEuclideanDistance,
):
    _register(package="metricops")(_cls)

_POSITIVES = ("hard", "easy")
_NEGATIVES = {"semi-hard": "beyond_all", "hard": "hard", "easy": "easy"}
_PROJECTIONS = ("negative_cosine_sim", "cosine_distance", "angular_distance")


class _DistanceLoss(EmbeddingLoss):
    """A loss of embeddings by a distance, which has one of the names in `_known`."""

    _known: tuple[str, ...] = ("cosine",)

    def __init__(
        self,
        name: str | None,
        reduction: str | None,
        dtype: Any,
        gather: bool,
        distance: Any,
        **options: Any,
    ) -> None:
        super().__init__(name, reduction, dtype, gather)
        found = distances.distance_canonicalizer(distance).metric
        _check_word("distance", found, self._known)
        self._take(distance=found, **options)


class _MinedLoss(_DistanceLoss):
    """A triplet an anchor: its positive and its negative are mined."""

    _known: tuple[str, ...] = ("cosine", "euclidean", "squared_euclidean")
    _function = staticmethod(metricops.triplet_loss_from_embeddings)
    _swap = False

    def __init__(
        self,
        distance: Any,
        positive_mining_strategy: str,
        negative_mining_strategy: str,
        margin: float | None,
        name: str | None,
        reduction: str | None,
        dtype: Any,
        gather: bool,
    ) -> None:
        _check_word("positive_mining_strategy", positive_mining_strategy, _POSITIVES)
        _check_word(
            "negative_mining_strategy", negative_mining_strategy, (*_NEGATIVES,)
        )
        super().__init__(
            name,
            reduction,
            dtype,
            gather,
            distance,
            positive_mining_strategy=positive_mining_strategy,
            negative_mining_strategy=negative_mining_strategy,
            margin=margin,
        )

    def _arguments(self) -> dict[str, Any]:
        return {
            "metric": self.options["distance"],
            "positives": self.options["positive_mining_strategy"],
            "negatives": _NEGATIVES[self.options["negative_mining_strategy"]],
            "margin": self.options["margin"],
            "swap": self._swap,
        }


@_register(package="metricops")
class TripletLoss(_MinedLoss):
    """Triplet loss of one positive and one negative an anchor.

    ``tensorflow_similarity.losses.TripletLoss`` over
    `metricops.triplet_loss_from_embeddings`. `y_true` holds the labels, of shape (n,)
    or (n, 1), and `y_pred` the embeddings, of shape (n, d). An anchor without a
    positive or without a negative does not count.

    Parameters
    ----------
    distance : str or Distance
        "cosine", which divides by lengths, "euclidean" or "squared_euclidean", an alias
        or the object of one; of "manhattan" and "snr", the matrix is held.
    positive_mining_strategy : {"hard", "easy"}
        The farthest positive, or the nearest.
    negative_mining_strategy : {"semi-hard", "hard", "easy"}
        The nearest negative beyond all positives, or else the farthest; the nearest;
        the farthest.
    margin : float or None
        By how much the negative is to be farther than the positive. None: a triplet
        costs the softplus of the difference.
    name, reduction, dtype
        As in `CosineSimilarity`.
    gather
        As in `NPairsEmbeddingLoss`. Not possible with "manhattan" and "snr".

    Examples
    --------
    >>> from metricops.adapters.keras import TripletLoss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(TripletLoss("l2", margin=1.0)([0, 0, 1], embeddings)), 4)
    0.3486
    """

    _known = (*_MinedLoss._known, "manhattan", "snr")

    def __init__(
        self,
        distance: Any = "cosine",
        positive_mining_strategy: str = "hard",
        negative_mining_strategy: str = "semi-hard",
        margin: float | None = None,
        name: str | None = "TripletLoss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        mined = positive_mining_strategy, negative_mining_strategy
        super().__init__(distance, *mined, margin, name, reduction, dtype, gather)
        if gather:
            distance = self.options["distance"]
            _check_word("distance", distance, _MinedLoss._known, " with `gather`")

    def _arguments(self) -> dict[str, Any]:
        found = super()._arguments()
        if found["metric"] not in _MinedLoss._known:
            del found["metric"]  # of which `among` takes the matrix
        return found

    def among(
        self, candidates: Any, labels: Any, y_true: Any, y_pred: Any, **given: Any
    ) -> Any:
        """Return what `call` does, against candidates of which the first are `y_pred`.

        Of a distance without a way of its own, the matrix is held.
        """
        distance = self.options["distance"]
        if distance in _MinedLoss._known:
            return super().among(candidates, labels, y_true, y_pred, **given)
        if candidates is not None:
            _check_word("distance", distance, _MinedLoss._known, " with a memory")
        matrix = distances.get(distance)(y_pred)
        names = ("positives", "negatives", "margin")
        mined = {name: self._arguments()[name] for name in names}
        return triplet_loss_of_matrix(matrix, dense(y_true), **mined, **given)


@_register(package="metricops")
class PNLoss(_MinedLoss):
    """Triplet loss whose negative is to be far from the anchor and from the positive.

    ``tensorflow_similarity.losses.PNLoss`` over
    `metricops.triplet_loss_from_embeddings` with `swap`. It is called as `TripletLoss`.

    Parameters
    ----------
    distance, positive_mining_strategy, negative_mining_strategy, margin
        As in `TripletLoss`.
    name, reduction, dtype
        As in `CosineSimilarity`.
    gather
        As in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> from metricops.adapters.keras import PNLoss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(PNLoss("l2", margin=1.0)([0, 0, 1], embeddings)), 4)
    0.5
    """

    _swap = True

    def __init__(
        self,
        distance: Any = "cosine",
        positive_mining_strategy: str = "hard",
        negative_mining_strategy: str = "semi-hard",
        margin: float | None = None,
        name: str | None = "PNLoss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        mined = positive_mining_strategy, negative_mining_strategy
        super().__init__(distance, *mined, margin, name, reduction, dtype, gather)


@_register(package="metricops")
class MultiSimilarityLoss(_DistanceLoss):
    """Multi-similarity loss, with its mining of pairs.

    ``tensorflow_similarity.losses.MultiSimilarityLoss`` over
    `metricops.multi_similarity_loss_from_embeddings`. `y_true` holds the labels, of
    shape (n,) or (n, 1), and `y_pred` the embeddings, of shape (n, d).

    Parameters
    ----------
    distance : {"cosine"}, or an alias, or its object
        The distance; it divides by lengths.
    alpha, beta : float
        The weights of positives and of negatives, as exponents.
    epsilon : float or None
        How far a pair may be from the hardest of the other kind to be mined. None: all
        pairs are.
    lmda, center : float
        Pairs of distance ``center - lmda`` have the exponent 0.
    name, reduction, dtype
        As in `CosineSimilarity`.
    gather
        As in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> from metricops.adapters.keras import MultiSimilarityLoss
    >>> embeddings = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]
    >>> round(float(MultiSimilarityLoss()([0, 0, 1], embeddings)), 4)
    0.3394
    """

    _function = staticmethod(metricops.multi_similarity_loss_from_embeddings)

    def __init__(
        self,
        distance: Any = "cosine",
        alpha: float = 2.0,
        beta: float = 40.0,
        epsilon: float | None = 0.1,
        lmda: float = 0.5,
        center: float = 1.0,
        name: str | None = "MultiSimilarityLoss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        check_number("lmda", lmda)
        check_number("center", center)
        super().__init__(
            name,
            reduction,
            dtype,
            gather,
            distance,
            alpha=alpha,
            beta=beta,
            epsilon=epsilon,
            lmda=lmda,
            center=center,
        )

    def _arguments(self) -> dict[str, Any]:
        given = self.options
        kept = {name: given[name] for name in ("alpha", "beta", "epsilon")}
        return {**kept, "base": 1.0 + given["lmda"] - given["center"]}


@_register(package="metricops")
class CircleLoss(_DistanceLoss):
    """Circle loss.

    ``tensorflow_similarity.losses.CircleLoss`` over
    `metricops.circle_loss_from_embeddings`, which gives the paper's number: the
    original counted pairs of weight 0. `y_true` holds the labels, of shape (n,) or
    (n, 1), and `y_pred` the embeddings, of shape (n, d).

    Parameters
    ----------
    distance : {"cosine"}, or an alias, or its object
        The distance; it divides by lengths.
    gamma : float
        What the weighted similarities are multiplied by.
    margin : float
        How far similarities may be from their ideals, 1 and 0.
    name, reduction, dtype
        As in `CosineSimilarity`.
    gather
        As in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> from metricops.adapters.keras import CircleLoss
    >>> embeddings = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]
    >>> round(float(CircleLoss()([0, 0, 1], embeddings)), 3)
    28.865
    """

    _function = staticmethod(metricops.circle_loss_from_embeddings)

    def __init__(
        self,
        distance: Any = "cosine",
        gamma: float = 80.0,
        margin: float = 0.4,
        name: str | None = "CircleLoss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        own = {"gamma": gamma, "margin": margin}
        super().__init__(name, reduction, dtype, gather, distance, **own)

    def _arguments(self) -> dict[str, Any]:
        return {name: self.options[name] for name in ("gamma", "margin")}


@_register(package="metricops")
class SoftNearestNeighborLoss(_DistanceLoss):
    """Soft nearest neighbour loss.

    ``tensorflow_similarity.losses.SoftNearestNeighborLoss`` over
    `metricops.soft_nearest_neighbor_loss_from_embeddings`. `y_true` holds the labels,
    of shape (n,) or (n, 1), and `y_pred` the embeddings, of shape (n, d). An anchor
    without a positive does not count.

    Parameters
    ----------
    distance : {"squared_euclidean", "cosine"}, or an alias, or its object
        The distance; "cosine" divides by lengths.
    temperature : float
        What divides the distances; positive.
    name, reduction, dtype
        As in `CosineSimilarity`.
    gather
        As in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> from metricops.adapters.keras import SoftNearestNeighborLoss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(SoftNearestNeighborLoss()([0, 0, 1], embeddings)), 4)
    0.1761
    """

    _known = ("squared_euclidean", "cosine")
    _function = staticmethod(metricops.soft_nearest_neighbor_loss_from_embeddings)

    def __init__(
        self,
        distance: Any = "sql2",
        temperature: float = 1.0,
        name: str | None = "SoftNearestNeighborLoss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        given = name, reduction, dtype, gather, distance
        super().__init__(*given, temperature=temperature)

    def _arguments(self) -> dict[str, Any]:
        given = self.options
        return {"metric": given["distance"], "temperature": given["temperature"]}


@_register(package="metricops")
class MultiNegativesRankLoss(GatheringLoss):
    """Loss of each query's own key against the keys of all.

    ``tensorflow_similarity.losses.MultiNegativesRankLoss`` over
    `metricops.npairs_loss_from_embeddings`, whose softmax has no 1 added to its sum. It
    is called with the queries and the keys, both of shape (n, d).

    Parameters
    ----------
    name : str, optional
        As in `keras.losses.Loss`.
    distance : {"inner_product"}, or an alias, or its object
        The similarity.
    scale : float
        What the similarities are multiplied by; positive.
    reduction, dtype
        As in `CosineSimilarity`.
    gather
        As in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> from metricops.adapters.keras import MultiNegativesRankLoss
    >>> keys = [[1.0, 0.0], [0.0, 1.0]]
    >>> round(float(MultiNegativesRankLoss(scale=2.0)(keys, keys)), 4)
    0.1269
    """

    _names: ClassVar[dict[str, str]] = {"anchors": "y_true", "candidates": "y_pred"}
    _all_count = True

    def __init__(
        self,
        name: str | None = "MultipleNegativesRankingLoss",
        distance: Any = "inner_product",
        scale: float = 20.0,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        super().__init__(name, reduction, dtype, gather)
        found = distances.distance_canonicalizer(distance).metric
        _check_word("distance", found, ("inner_product",))
        self.distance, self.scale = found, check_positive("scale", scale)

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the queries' losses, of shape (n,), or their mean."""
        return self._of_batch(
            metricops.npairs_loss_from_embeddings,
            ops.convert_to_tensor(y_true, dtype=self.dtype),
            y_pred,
            None,
            temperature=1.0 / self.scale,
            sample_weight=sample_weight,
            reduction=reduction,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        own = {"distance": self.distance, "scale": self.scale}
        return {**super().get_config(), **own}


@_register(package="metricops")
class SimCLRLoss(RowsLoss):
    """SimCLR's loss of two views: twice NT-Xent.

    ``tensorflow_similarity.losses.SimCLRLoss`` over
    `metricops.npairs_loss_from_embeddings`. It is called with the two views, both of
    shape (n, d), and has a loss for each sample.

    Parameters
    ----------
    temperature : float
        What divides the cosines; positive.
    reduction, name, dtype
        As in `CosineSimilarity`.

    Examples
    --------
    >>> from metricops.adapters.keras import SimCLRLoss
    >>> views = [[1.0, 0.0], [0.0, 1.0]], [[0.8, 0.6], [0.6, 0.8]]
    >>> round(float(SimCLRLoss(temperature=0.5)(*views)), 4)
    1.7414
    """

    _function = staticmethod(metricops.npairs_loss_from_embeddings)

    def __init__(
        self,
        temperature: float = 0.05,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._take(temperature=temperature)

    def _rows(self, y_true: Any, y_pred: Any) -> Any:
        """Return the losses of the samples, of shape (n,)."""
        first, second = tuple(y_true.shape), tuple(y_pred.shape)
        _checks.check_rank("y_true", first, 2, "(n, d)")
        _checks.check_same_shape("y_pred", second, "y_true", first)
        count = ops.shape(y_pred)[0]
        samples = ops.arange(count)
        rows = self._function(
            ops.concatenate([y_true, y_pred]),
            labels=ops.concatenate([samples, samples]),
            normalize=True,
            exclude_diagonal=True,
            reduction="none",
            **self.options,
        )
        return rows[:count] + rows[count:]


@_register(package="metricops")
class SimSiamLoss(RowsLoss):
    """SimSiam's loss of a projection and a prediction: half of the symmetric loss.

    ``tensorflow_similarity.losses.SimSiamLoss`` over
    `metricops.cosine_similarity_loss`. It is called with the projections and the
    predictions, both of shape (n, d); to stop the gradient of one is the caller's.

    Parameters
    ----------
    projection_type : {"negative_cosine_sim", "cosine_distance", "angular_distance"}
        Minus the cosine, 1 less the cosine, or the angle divided by π.
    margin : float
        Added to each loss.
    reduction, name, dtype
        As in `CosineSimilarity`.

    Examples
    --------
    >>> from metricops.adapters.keras import SimSiamLoss
    >>> round(float(SimSiamLoss()([[1.0, 0.0]], [[0.6, 0.8]])), 4)
    -0.299
    """

    def __init__(
        self,
        projection_type: str = "negative_cosine_sim",
        margin: float = 0.001,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        _check_word("projection_type", projection_type, _PROJECTIONS)
        check_number("margin", margin)
        self.options = {"projection_type": projection_type, "margin": margin}

    def _rows(self, y_true: Any, y_pred: Any) -> Any:
        """Return the losses of the samples, of shape (n,)."""
        losses = metricops.cosine_similarity_loss(y_true, y_pred, reduction="none")
        if self.options["projection_type"] == "cosine_distance":
            losses = 1.0 + losses
        if self.options["projection_type"] == "angular_distance":
            # The slope of an angle is infinite where views are equal; here it is 0.
            inside = ops.abs(losses) < 1.0
            angles = ops.arccos(-ops.where(inside, losses, 0.0))
            flat = ops.where(losses < 0, 0.0, math.pi)
            losses = ops.where(inside, angles, ops.cast(flat, angles.dtype)) / math.pi
        return losses * 0.5 + self.options["margin"]


@_register(package="metricops")
class Barlow(RowsLoss):
    """Barlow Twins' loss of two views.

    ``tensorflow_similarity.losses.Barlow`` over `metricops.barlow_twins_loss`. It is
    called with the two views, both of shape (n, d), and is one number.

    Parameters
    ----------
    lambda_ : float
        What correlations of different features weigh.
    margin : float
        Added to the loss.
    reduction, name, dtype
        As in `CosineSimilarity`.

    Examples
    --------
    >>> from metricops.adapters.keras import Barlow
    >>> first = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    >>> second = [[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]
    >>> round(float(Barlow()(first, second)), 4)
    0.0025
    """

    def __init__(
        self,
        lambda_: float = 5e-3,
        margin: float = 1e-12,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.options = {"lambda_": lambda_, "margin": margin}
        for option, value in self.options.items():
            check_number(option, value)

    def _rows(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss, of shape ()."""
        weight = {"off_diagonal_weight": self.options["lambda_"]}
        loss = metricops.barlow_twins_loss(y_true, y_pred, **weight)
        return loss + self.options["margin"]


@_register(package="metricops")
class VicReg(RowsLoss):
    """VICReg's loss of two views, with the variance of the batch itself.

    ``tensorflow_similarity.losses.VicReg`` over `metricops.vicreg_loss`, with
    ``ddof=0``. It is called with the two views, both of shape (n, d), and has a loss
    for each sample, as the default `reduction` leaves them: a model is compiled with
    ``VicReg(reduction="mean")``.

    Parameters
    ----------
    std_const : float
        Added to a variance before the root; positive.
    lambda_, mu, nu : float
        The weights of invariance, variance and covariance.
    reduction, name, dtype
        As in `CosineSimilarity`, but not reduced unless asked for.

    Examples
    --------
    >>> from metricops.adapters.keras import VicReg
    >>> first = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    >>> second = [[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]
    >>> round(float(VicReg(reduction="mean")(first, second)), 3)
    16.126
    """

    def __init__(
        self,
        std_const: float = 1e-4,
        lambda_: float = 25.0,
        mu: float = 25.0,
        nu: float = 1.0,
        reduction: str | None = "none",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        weights = {"lambda_": lambda_, "mu": mu, "nu": nu}
        for option, value in weights.items():
            check_number(option, value)
        check_positive("std_const", std_const)
        self.options = {"std_const": std_const, **weights}

    def _rows(self, y_true: Any, y_pred: Any) -> Any:
        """Return the losses of the samples, of shape (n,)."""
        given = self.options
        rest = metricops.vicreg_loss(
            y_true,
            y_pred,
            invariance=0.0,
            variance=given["mu"],
            covariance=given["nu"],
            epsilon=given["std_const"],
            ddof=0,
        )
        apart = ops.mean(ops.square(y_true - y_pred), axis=-1)
        return given["lambda_"] * apart + rest


def _check_word(name: str, value: Any, words: tuple[str, ...], where: str = "") -> None:
    """Raise unless an argument is one of some words."""
    if value not in words:
        known = ", ".join(f'"{word}"' for word in words)
        msg = f"`{name}` must be one of {known}{where}; got {value!r}."
        raise ValueError(msg)
