"""Bad input: one table of calls, and the exact words, the same in every library."""

import math
from typing import Any

import numpy as np
import pytest

import metricops
from metricops import _checks
from tests.conftest import Library

X = [[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 2.0]]
ROW = X[0]
SHORT = X[:2]
Y = [0, 1, 0]
NARROW = [row[:2] for row in X]
LONG = [*X, ROW]
HOT = [[1, 0], [0, 1], [1, 1]]
CUBE = np.zeros((2, 3, 4), np.float32)
MIXED = "of integers, bools or real floats, or a list of strings"
MULTIHOT = "of integers, bools or real floats where it is multi-hot"
METRICS = "inner_product, cosine, euclidean, squared_euclidean, manhattan, snr"
REDUCTIONS = '"mean", "sum", "weighted_mean" or "none"'
WEIGHT = "no shape, or a leading part of the loss's shape"

# Any: most of these calls are wrong on purpose.
normalize: Any = metricops.l2_normalize
cosine: Any = metricops.cosine_similarity
cosine_loss: Any = metricops.cosine_similarity_loss
cosine_distance: Any = metricops.pairwise_cosine_distance
dot: Any = metricops.dot
inner: Any = metricops.pairwise_inner_product
cosines: Any = metricops.pairwise_cosine_similarity
softmax: Any = metricops.softmax_cross_entropy
npairs: Any = metricops.npairs_loss
multilabel: Any = metricops.npairs_multilabel_loss
embeddings: Any = metricops.npairs_loss_from_embeddings
loss_and_grad: Any = metricops.npairs_loss_and_grad
contrastive: Any = metricops.contrastive_loss_from_embeddings
neighbors: Any = metricops.nearest_neighbors
recall: Any = metricops.recall_at_k

# Each call gets the function that makes an array, and each message is the whole of it.
SHAPES = [
    # l2_normalize
    (
        lambda a: normalize(a(X), axis=2),
        "`axis` must be an axis of 2 dimensions; got 2.",
    ),
    (
        lambda a: normalize(a(X), axis=(0, -3)),
        "`axis` must be an axis of 2 dimensions; got -3.",
    ),
    (
        lambda a: normalize(a(X), axis=(1, -1)),
        "`axis` must be an int or a tuple of different ints; got (1, -1).",
    ),
    (
        lambda a: normalize(a(X), axis=()),
        "`axis` must be an int or a tuple of different ints; got ().",
    ),
    (
        lambda a: normalize(a(1.0)),
        "`x` must have at least one dimension; got shape ().",
    ),
    # cosine_similarity and its loss
    (
        lambda a: cosine(a(1.0), a(1.0)),
        "`x` must have at least one dimension; got shape ().",
    ),
    (
        lambda a: cosine(a(X), a(SHORT)),
        "`y` must have the shape of `x`, (3, 3); got shape (2, 3).",
    ),
    (
        lambda a: cosine(a(X), a([ROW])),
        "`y` must have the shape of `x`, (3, 3); got shape (1, 3).",
    ),
    (
        lambda a: cosine(a(X), a([[1.0], [2.0], [3.0]])),
        "`y` must have the shape of `x`, (3, 3); got shape (3, 1).",
    ),
    (
        lambda a: cosine(a(X), a(ROW)),
        "`y` must have the shape of `x`, (3, 3); got shape (3,).",
    ),
    (
        lambda a: cosine(a(X), a(X), axis=5),
        "`axis` must be an axis of 2 dimensions; got 5.",
    ),
    (
        lambda a: cosine_loss(a(X), a([ROW])),
        "`y_pred` must have the shape of `y_true`, (3, 3); got shape (1, 3).",
    ),
    (
        lambda a: cosine_loss(a(X), a(X), axis=-3),
        "`axis` must be an axis of 2 dimensions; got -3.",
    ),
    (
        lambda a: cosine_loss(a(X), a(X), sample_weight=a([1.0, 2.0])),
        f"`sample_weight` must have {WEIGHT} (3,); got shape (2,).",
    ),
    (
        lambda a: cosine_loss(a(CUBE), a(CUBE), sample_weight=a([1.0, 2.0, 3.0])),
        f"`sample_weight` must have {WEIGHT} (2, 3); got shape (3,).",
    ),
    (
        lambda a: cosine_loss(a(CUBE), a(CUBE), sample_weight=a([[1.0, 2.0, 3.0]])),
        f"`sample_weight` must have {WEIGHT} (2, 3); got shape (1, 3).",
    ),
    (
        lambda a: cosine_loss(a(CUBE), a(CUBE), sample_weight=a(CUBE)),
        f"`sample_weight` must have {WEIGHT} (2, 3); got shape (2, 3, 4).",
    ),
    # dot
    (
        lambda a: dot(a(X), a(X), axes=0),
        "`axes` must be axes other than the batch axis, 0; got 0.",
    ),
    (
        lambda a: dot(a(X), a(X), axes=(1, -2)),
        "`axes` must be axes other than the batch axis, 0; got (1, -2).",
    ),
    (
        lambda a: dot(a(X), a(X), axes=2),
        "`axes` must be an axis of 2 dimensions; got 2.",
    ),
    (
        lambda a: dot(a(X), a(X), axes=(1, 1, 1)),
        "`axes` must be an int or a pair of ints; got (1, 1, 1).",
    ),
    (
        lambda a: dot(a(X), a(SHORT), axes=1),
        "`y` must have the batch size of `x`, 3; got shape (2, 3).",
    ),
    (
        lambda a: dot(a(X), a([ROW]), axes=1),
        "`y` must have the batch size of `x`, 3; got shape (1, 3).",
    ),
    (
        lambda a: dot(a(X), a(NARROW), axes=1),
        "`y` must have size 3 along axis 1, as `x` along axis 1; got shape (3, 2).",
    ),
    (
        lambda a: dot(a(CUBE), a(CUBE), axes=(1, 2)),
        "`y` must have size 3 along axis 2, as `x` along axis 1; got shape (2, 3, 4).",
    ),
    (
        lambda a: dot(a(ROW), a(X), axes=1),
        "`x` must have shape (batch, ...) of two axes or more; got shape (3,).",
    ),
    (
        lambda a: dot(a(X), a(ROW), axes=1),
        "`y` must have shape (batch, ...) of two axes or more; got shape (3,).",
    ),
    # pairwise
    (
        lambda a: inner(a(ROW)),
        "`x` must have shape (..., n, d); got shape (3,).",
    ),
    (
        lambda a: inner(a(X), a(ROW)),
        "`y` must have shape (m, 3), to fit `x`; got shape (3,).",
    ),
    (
        lambda a: inner(a(X), a(NARROW)),
        "`y` must have shape (m, 3), to fit `x`; got shape (3, 2).",
    ),
    (
        lambda a: inner(a(X), a([[1.0]])),
        "`y` must have shape (m, 3), to fit `x`; got shape (1, 1).",
    ),
    (
        lambda a: cosines(a(CUBE), a(CUBE[:1])),
        "`y` must have shape (2, m, 4), to fit `x`; got shape (1, 3, 4).",
    ),
    (
        lambda a: cosines(a(CUBE), a(CUBE[0])),
        "`y` must have shape (2, m, 4), to fit `x`; got shape (3, 4).",
    ),
    # softmax_cross_entropy
    (
        lambda a: softmax(a(ROW), a(ROW)),
        "`similarity` must have shape (n, m); got shape (3,).",
    ),
    (
        lambda a: softmax(a(X), a(ROW)),
        "`targets` must have the shape of `similarity`, (3, 3); got shape (3,).",
    ),
    (
        lambda a: softmax(a(X), a([ROW])),
        "`targets` must have the shape of `similarity`, (3, 3); got shape (1, 3).",
    ),
    (
        lambda a: softmax(a(X), a(X), reduction="average"),
        f"`reduction` must be {REDUCTIONS}; got 'average'.",
    ),
    (
        lambda a: softmax(a(X), a(X), sample_weight=a([[1.0, 2.0, 3.0]])),
        f"`sample_weight` must have {WEIGHT} (3,); got shape (1, 3).",
    ),
    (
        lambda a: softmax(a(X), a(X), sample_weight=a(X)),
        f"`sample_weight` must have {WEIGHT} (3,); got shape (3, 3).",
    ),
    # npairs_loss
    (
        lambda a: npairs(a(CUBE), a([0, 1])),
        "`similarity` must have shape (n, m); got shape (2, 3, 4).",
    ),
    (
        lambda a: npairs(a(X), a([0, 1])),
        "`labels` must have a label for each of 3 rows; got shape (2,).",
    ),
    (
        lambda a: npairs(a(X), a([0])),
        "`labels` must have a label for each of 3 rows; got shape (1,).",
    ),
    (
        lambda a: npairs(a(X), [0, 1]),
        "`labels` must have a label for each of 3 rows; got shape (2,).",
    ),
    (
        lambda a: npairs(a(X), a([[0, 1, 2]])),
        "`labels` must have shape (n,) or (n, 1); got shape (1, 3).",
    ),
    (
        lambda a: npairs(a(X), a(HOT)),
        "`labels` must have shape (n,) or (n, 1); got shape (3, 2).",
    ),
    (
        lambda a: npairs(a(X), 1),
        "`labels` must have shape (n,) or (n, 1); got shape ().",
    ),
    (
        lambda a: npairs(a(SHORT), a([0, 1])),
        "`labels` must have a label for each of 3 columns; got shape (2,).",
    ),
    (
        lambda a: npairs(a(SHORT), a([0, 1]), column_labels=a([0, 1])),
        "`column_labels` must have a label for each of 3 columns; got shape (2,).",
    ),
    (
        lambda a: npairs(a(X), a([0, 1, 2]), reduction="Mean"),
        f"`reduction` must be {REDUCTIONS}; got 'Mean'.",
    ),
    (
        lambda a: npairs(a(X), a([0, 1, 2]), sample_weight=a([1.0, 2.0])),
        f"`sample_weight` must have {WEIGHT} (3,); got shape (2,).",
    ),
    (
        lambda a: npairs(a(X), [[0], [1, 2]]),
        "`labels` must be a rectangular list; got a ragged list.",
    ),
    # npairs_multilabel_loss
    (
        lambda a: multilabel(a(X), a([0, 1, 2])),
        "`labels` must have shape (n, c), multi-hot; got shape (3,).",
    ),
    (
        lambda a: multilabel(a(X), a(HOT[:2])),
        "`labels` must have a label for each of 3 rows; got shape (2, 2).",
    ),
    (
        lambda a: multilabel(a(X), a(HOT), column_labels=a(X)),
        "`column_labels` must have 2 classes, as `labels`; got shape (3, 3).",
    ),
    # npairs_loss_from_embeddings
    (
        lambda a: embeddings(a(CUBE), a(CUBE)),
        "`anchors` must have shape (n, d); got shape (2, 3, 4).",
    ),
    (
        lambda a: embeddings(a(X), a(NARROW)),
        "`candidates` must have shape (m, 3), to fit `anchors`; got shape (3, 2).",
    ),
    (
        lambda a: embeddings(a(X), a(ROW)),
        "`candidates` must have shape (m, 3), to fit `anchors`; got shape (3,).",
    ),
    (
        lambda a: embeddings(a(X), a(SHORT)),
        (
            "`candidates` must have a row for each of 3 anchors "
            "where `labels` is None; got shape (2, 3)."
        ),
    ),
    (
        lambda a: embeddings(a(X)),
        "`labels` must be given where `candidates` is None; got None.",
    ),
    (
        lambda a: embeddings(a(X), a(X), candidate_labels=a([0, 1, 2])),
        "`labels` must be given where `candidate_labels` is; got None.",
    ),
    (
        lambda a: embeddings(a(X), a(X), exclude_diagonal=True),
        "`labels` must be given where `exclude_diagonal` is True; got None.",
    ),
    (
        lambda a: embeddings(a(X), a(LONG), symmetric=True),
        (
            "`candidates` must have as many rows as `anchors`, 3, "
            "where `symmetric` is True; got shape (4, 3)."
        ),
    ),
    (
        lambda a: embeddings(
            a(LONG), a(X), [0] * 4, candidate_labels=[0, 1, 2], exclude_diagonal=True
        ),
        (
            "`candidates` must have a row for each of 4 anchors "
            "where `exclude_diagonal` is True; got shape (3, 3)."
        ),
    ),
    (
        lambda a: embeddings(a(X), a(X), a([0, 1])),
        "`labels` must have a label for each of 3 anchors; got shape (2,).",
    ),
    (
        lambda a: embeddings(a(X), a(LONG), a([0, 1, 2])),
        "`labels` must have a label for each of 4 candidates; got shape (3,).",
    ),
    (
        lambda a: embeddings(a(X), a(LONG), a([0, 1, 2]), candidate_labels=a([0])),
        (
            "`candidate_labels` must have a label for each of 4 candidates; "
            "got shape (1,)."
        ),
    ),
    (
        lambda a: embeddings(a(X), a(X), a(HOT), candidate_labels=a(X)),
        "`candidate_labels` must have 2 classes, as `labels`; got shape (3, 3).",
    ),
    (
        lambda a: embeddings(a(X), a(X), a(HOT), candidate_labels=a([0, 1, 2])),
        "`candidate_labels` must have shape (m, c), as `labels`; got shape (3,).",
    ),
    (
        lambda a: embeddings(a(X), a(X), a([0, 1, 2]), candidate_labels=a(HOT)),
        (
            "`candidate_labels` must have shape (m,) or (m, 1), as `labels`; "
            "got shape (3, 2)."
        ),
    ),
    (
        lambda a: embeddings(a(X), a(X), [[0], [1], [2]], candidate_labels=0),
        (
            "`candidate_labels` must have shape (m,) or (m, 1), as `labels`; "
            "got shape ()."
        ),
    ),
    (
        lambda a: embeddings(a(X), a(X), a(CUBE)),
        "`labels` must have shape (n,), (n, 1) or (n, c); got shape (2, 3, 4).",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=0),
        "`temperature` must be positive and finite; got 0.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=-0.5),
        "`temperature` must be positive and finite; got -0.5.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=math.nan),
        "`temperature` must be positive and finite; got nan.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=np.float32(-0.1)),
        "`temperature` must be positive and finite; got np.float32(-0.1).",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=np.float32(0)),
        "`temperature` must be positive and finite; got np.float32(0.0).",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=np.int64(0)),
        "`temperature` must be positive and finite; got np.int64(0).",
    ),
    (
        lambda a: loss_and_grad(a(X), a(X), temperature=np.float16("nan")),
        "`temperature` must be positive and finite; got np.float16(nan).",
    ),
    (
        lambda a: embeddings(a(X), a(X), l2_weight=np.float32(0.5), reduction="none"),
        '`l2_weight` must be zero where `reduction` is "none"; got np.float32(0.5).',
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=math.inf),
        "`temperature` must be positive and finite; got inf.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=a([1.0, 2.0, 3.0])),
        "`temperature` must have shape (); got shape (3,).",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=a([1.0])),
        "`temperature` must have shape (); got shape (1,).",
    ),
    (
        lambda a: embeddings(a(X), a(X), l2_weight=0.1, reduction="none"),
        '`l2_weight` must be zero where `reduction` is "none"; got 0.1.',
    ),
    (
        lambda a: embeddings(a(X), a(X), reduction=None),
        f"`reduction` must be {REDUCTIONS}; got None.",
    ),
    (
        lambda a: embeddings(a(X), a(X), block_size=0),
        "`block_size` must be at least 1; got 0.",
    ),
    (
        lambda a: embeddings(a(X), a(X), sample_weight=a([1.0, 2.0])),
        f"`sample_weight` must have {WEIGHT} (3,); got shape (2,).",
    ),
    (
        lambda a: loss_and_grad(a(X), a(X), reduction="none"),
        '`reduction` must be "mean" or "sum"; got \'none\'.',
    ),
    (
        lambda a: loss_and_grad(a(X), a(SHORT)),
        (
            "`candidates` must have a row for each of 3 anchors "
            "where `labels` is None; got shape (2, 3)."
        ),
    ),
    # nearest_neighbors and recall_at_k
    (
        lambda a: neighbors(a(CUBE), a(CUBE)),
        "`queries` must have shape (n, d); got shape (2, 3, 4).",
    ),
    (
        lambda a: neighbors(a(X), a(NARROW)),
        "`keys` must have shape (m, 3), to fit `queries`; got shape (3, 2).",
    ),
    (
        lambda a: neighbors(a(X), a(X), 0),
        "`k` must be at least 1; got 0.",
    ),
    (
        lambda a: neighbors(a(X), a(X), 4),
        "`k` must be at most 3, the number of keys to choose from; got 4.",
    ),
    (
        lambda a: neighbors(a(X), k=3),
        "`k` must be at most 2, the number of keys to choose from; got 3.",
    ),
    (
        lambda a: neighbors(a(X), metric="cosin"),
        (f"`metric` must be one of {METRICS}; got 'cosin'. Nearest: 'cosine'."),
    ),
    (
        lambda a: neighbors(a(X), metric="inner product"),
        (
            f"`metric` must be one of {METRICS}; got 'inner product'. "
            "Nearest: 'inner_product'."
        ),
    ),
    (
        lambda a: neighbors(a(X), block_size=-1),
        "`block_size` must be at least 1; got -1.",
    ),
    (
        lambda a: recall(a(X), a([0, 1]), k=1),
        "`query_labels` must have a label for each of 3 rows; got shape (2,).",
    ),
    (
        lambda a: recall(a(X), a([0, 1, 2]), a(LONG), a([0, 1, 2]), k=1),
        "`key_labels` must have a label for each of 4 rows; got shape (3,).",
    ),
    (
        lambda a: recall(a(X), a([0, 1, 2]), a(LONG), k=1),
        "`key_labels` must be given where `keys` are, and only there; got None.",
    ),
    (
        lambda a: recall(a(X), a([0, 1, 2])),
        "`k` must be at most 2, the number of keys to choose from; got 10.",
    ),
    (
        lambda a: recall(a(X), a(HOT), k=1),
        "`query_labels` must have shape (n,) or (n, 1); got shape (3, 2).",
    ),
    (
        lambda a: recall(a(X), a([0, 1, 2]), k=()),
        "`k` must be an int or a tuple of ints; got ().",
    ),
]
TYPES = [
    (
        lambda a: cosine_distance(a(X), normalize="no"),
        "`normalize` must be True or False; got 'no'.",
    ),
    (
        lambda a: normalize(a(X), axis=1.0),
        "`axis` must be an int; got 1.0.",
    ),
    (
        lambda a: normalize(a(X), axis=None),
        "`axis` must be an int; got None.",
    ),
    (
        lambda a: normalize(a(X), axis="last"),
        "`axis` must be an int; got 'last'.",
    ),
    (
        lambda a: normalize(a(X), axis=True),
        "`axis` must be an int; got True.",
    ),
    (
        lambda a: normalize(a(np.asarray(X) > 0)),
        "`x` must be of integers or real floats; got dtype bool.",
    ),
    (
        lambda a: cosine(a(X), a(X, "complex64")),
        "`y` must be of integers or real floats; got dtype complex64.",
    ),
    (
        lambda a: cosine_loss(a(np.asarray(X) > 0), a(X)),
        "`y_true` must be of integers or real floats; got dtype bool.",
    ),
    (
        lambda a: dot(a(X), a(X), axes=1.5),
        "`axes` must be an int; got 1.5.",
    ),
    (
        lambda a: dot(a(X), a(X), axes=((1,), 1)),
        "`axes` must be an int; got (1,).",
    ),
    (
        lambda a: softmax(a(X), a(X, "complex64")),
        "`targets` must be of real numbers; got dtype complex64.",
    ),
    (
        lambda a: npairs(a(np.asarray(X) > 0), a([0, 1, 2])),
        "`similarity` must be of integers or real floats; got dtype bool.",
    ),
    (
        lambda a: npairs(a(X), a([0, 1, 2], "complex64")),
        f"`labels` must be {MIXED}; got dtype complex64.",
    ),
    (
        lambda a: npairs(a(X), None),
        "`labels` must be a dense array; got NoneType.",
    ),
    (
        lambda a: npairs(a(X), a([0, 1, 2]), sample_weight=a([1, 2, 3], "complex64")),
        "`sample_weight` must be of real numbers; got dtype complex64.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=True),
        "`temperature` must be a number or an array; got True.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=a(1, "complex64")),
        "`temperature` must be of a real number; got dtype complex64.",
    ),
    (
        lambda a: embeddings(a(X), a(X), block_size=2.5),
        "`block_size` must be an int; got 2.5.",
    ),
    (
        lambda a: neighbors(a(X), k=1.0),
        "`k` must be an int; got 1.0.",
    ),
    (
        lambda a: neighbors(a(X), metric=3),
        "`metric` must be a string; got 3.",
    ),
    (
        lambda a: recall(a(X), a([0, 1, 2]), k=(1, "2")),
        "`k` must be an int; got '2'.",
    ),
    # arrays and strings where numbers are wanted
    (
        lambda a: neighbors(a(X), k=np.asarray([1, 2])),
        "`k` must be an int; got an array of shape (2,).",
    ),
    (
        lambda a: neighbors(a(X), k=a([1])),
        "`k` must be an int; got an array of shape (1,).",
    ),
    (
        lambda a: recall(a(X), a([0, 1, 2]), k=a([1, 2])),
        "`k` must be an int; got an array of shape (2,).",
    ),
    (
        lambda a: normalize(a(X), axis=a([0, 1])),
        "`axis` must be an int; got an array of shape (2,).",
    ),
    (
        lambda a: dot(a(X), a(X), axes=np.asarray([1, 1])),
        "`axes` must be an int; got an array of shape (2,).",
    ),
    (
        lambda a: dot(a(X), a(X), axes=a([1, 1])),
        "`axes` must be an int; got an array of shape (2,).",
    ),
    (
        lambda a: embeddings(a(X), a(X), block_size=a([2, 2])),
        "`block_size` must be an int; got an array of shape (2,).",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature="0.1"),
        "`temperature` must be a number or an array; got '0.1'.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=["0.1"]),
        "`temperature` must be of a real number; got dtype str.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=np.bool_(True)),
        "`temperature` must be of a real number; got dtype bool.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=None),
        "`temperature` must be a number or an array; got None.",
    ),
    (
        lambda a: embeddings(a(X), a(X), temperature=np.complex64(1)),
        "`temperature` must be of a real number; got dtype complex64.",
    ),
    (
        lambda a: embeddings(a(X), a(X), l2_weight=a([0.1, 0.2])),
        "`l2_weight` must be a number; got an array of shape (2,).",
    ),
    (
        lambda a: npairs(a(X), a([0, 1, 2]), sample_weight=["a", "b", "c"]),
        "`sample_weight` must be of real numbers; got dtype str.",
    ),
    (
        lambda a: npairs(a(X), [0, 1, 2], sample_weight=np.asarray(["a", "b", "c"])),
        "`sample_weight` must be of real numbers; got dtype str.",
    ),
    (
        lambda a: npairs(a(X), a([0, 1, 2]), sample_weight=[1.0, None, 2.0]),
        "`sample_weight` must be of real numbers; got dtype object.",
    ),
    (
        lambda a: npairs(a(X), a([0, 1, 2]), sample_weight=[1j, 1.0, 1.0]),
        "`sample_weight` must be of real numbers; got dtype complex128.",
    ),
    (
        lambda a: npairs(a(X), a([0, 1, 2]), sample_weight="much"),
        "`sample_weight` must be a dense array; got str.",
    ),
    (
        lambda a: softmax(a(X), [["a", "b", "c"]] * 3),
        "`targets` must be of real numbers; got dtype str.",
    ),
    (
        lambda a: npairs(a(X), [0, 1j, 2]),
        f"`labels` must be {MIXED}; got dtype complex128.",
    ),
    (
        lambda a: embeddings(a(X), a(X), [["a", "b"]] * 3),
        f"`labels` must be {MULTIHOT}; got dtype str.",
    ),
    (
        lambda a: multilabel(a(X), [["a"], ["b"], ["c"]]),
        f"`labels` must be {MULTIHOT}; got dtype str.",
    ),
    (
        lambda a: multilabel(a(X), a(HOT), column_labels=[["a", "b"]] * 3),
        f"`column_labels` must be {MULTIHOT}; got dtype str.",
    ),
]


def raised(call, kind, asarray):
    with pytest.raises(kind) as caught:
        call(asarray)
    assert caught.type is kind
    return str(caught.value)


@pytest.mark.parametrize(("call", "message"), SHAPES, ids=range(len(SHAPES)))
def test_a_bad_shape_or_value_is_named(library, call, message):
    assert raised(call, ValueError, library.asarray) == message


@pytest.mark.parametrize(("call", "message"), TYPES, ids=range(len(TYPES)))
def test_a_bad_type_is_named(library, call, message):
    assert raised(call, TypeError, library.asarray) == message


@pytest.mark.parametrize(("call", "message"), [*SHAPES, *TYPES])
def test_a_message_is_one_sentence_about_an_argument(call, message):
    assert message.startswith("`")
    assert " must " in message
    assert "; got " in message
    assert message.endswith(".")


@pytest.mark.parametrize("call", [multilabel, lambda x, y: embeddings(x, x, y)])
def test_strings_are_no_multilabels(library, call):
    names = [["a", "b"], ["b", "c"], ["c", "a"]]
    with pytest.raises(TypeError, match=r"^`labels` must be .*; got dtype "):
        call(library.asarray(X), names)


@pytest.mark.parametrize(
    "value", ["much", None, [1.0, 2.0], True, np.True_, np.asarray(0.1)], ids=repr
)
def test_l2_weight_is_a_number(value):
    with pytest.raises(TypeError) as caught:
        embeddings(X, X, l2_weight=value)
    assert str(caught.value) == f"`l2_weight` must be a number; got {value!r}."


@pytest.mark.parametrize("option", ["reduction", "denominator"])
def test_a_word_is_no_array(option):
    words = rf'^`{option}` must be ".*"; got an array of shape \(2,\)'
    with pytest.raises(TypeError, match=words):
        embeddings(X, X, **{option: np.asarray(["all", "mean"])})


WORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "npairs_loss_from_embeddings": ("denominator", ("all", "own", "negatives")),
    "triplet_loss_from_embeddings": (
        "negatives",
        ("semihard", "hard", "easy", "all", "beyond_all"),
    ),
    "npairs_loss": ("reduction", ("mean", "sum", "weighted_mean", "none")),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_word_is_no_number_of_any_library(library, name):
    option, words = WORDS[name]
    listed = _checks.one_of(words)
    with pytest.raises(TypeError) as caught:
        getattr(metricops, name)(
            library.asarray(X), labels=[0, 1, 0], **{option: library.asarray(1.0)}
        )
    assert str(caught.value).startswith(f"`{option}` must be {listed}; got ")


@pytest.mark.parametrize("shape", [(1,), (2,), (2, 2)])
def test_a_power_is_no_array(library, shape):
    power = library.asarray(np.ones(shape, np.float32))
    with pytest.raises(TypeError) as caught:
        contrastive(library.asarray(X), labels=[0, 1, 0], power=power)
    words = f"`power` must be 1 or 2; got an array of shape {shape}."
    assert str(caught.value) == words


@pytest.mark.parametrize("power", ["2", True, None, [2]], ids=repr)
def test_a_power_is_a_number(power):
    with pytest.raises(TypeError, match=r"^`power` must be 1 or 2; got "):
        contrastive(X, labels=[0, 1, 0], power=power)
    for number in (2.0, np.int64(2)):
        expected = contrastive(X, labels=[0, 1, 0])
        assert contrastive(X, labels=[0, 1, 0], power=number) == expected


OF_LOSSES = {
    "triplet_loss_from_embeddings": '"euclidean", "squared_euclidean" or "cosine"',
    "contrastive_loss_from_embeddings": '"euclidean", "squared_euclidean" or "cosine"',
    "lifted_structure_loss_from_embeddings": (
        '"euclidean", "squared_euclidean" or "cosine"'
    ),
    "soft_nearest_neighbor_loss_from_embeddings": '"squared_euclidean" or "cosine"',
}


@pytest.mark.parametrize("name", OF_LOSSES)
@pytest.mark.parametrize("metric", ["euclidian", "snr"])
def test_a_loss_names_the_metrics_that_it_takes(name, metric):
    with pytest.raises(ValueError, match="metric") as caught:
        getattr(metricops, name)(X, labels=[0, 1, 0], metric=metric)
    words = f"`metric` must be {OF_LOSSES[name]}; got '{metric}'."
    assert str(caught.value) == words


def test_the_loss_of_one_set_names_its_embeddings(torch):
    with pytest.raises(TypeError) as caught:
        metricops.lifted_structure_loss_from_embeddings(X, torch.tensor([0, 0, 1]))
    words = "of the library of `embeddings`, NumPy; got an array of PyTorch."
    assert str(caught.value).endswith(words)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: neighbors(X, k=x),
        lambda x: neighbors(X, metric=x),
        lambda x: neighbors(X, progress=x),
        lambda x: recall(X, [0, 1, 2], key_labels=x, k=1),
        lambda x: embeddings(X, X, reduction=x),
    ],
)
@pytest.mark.parametrize("value", [list(range(1000)), np.arange(1000)], ids=type)
def test_what_was_given_is_not_printed_at_length(call, value):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(value)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["DataFrame", "Series"])
def test_a_table_is_refused_with_its_conversion(library, word):
    table = type(word, (), {"__array__": lambda self, **_: np.asarray([0, 1, 2])})()
    with pytest.raises(TypeError, match=rf"got {word}: convert it with \.to_numpy\("):
        npairs(library.asarray(X), table)
    with pytest.raises(TypeError, match=rf"got {word}: convert it with \.to_numpy\("):
        normalize(table)


@pytest.mark.parametrize("kind", [list, np.asarray], ids=["list", "numpy"])
def test_strings_beside_an_array_of_labels_are_refused(library, kind):
    if library.name == "numpy":
        pytest.skip("NumPy has strings")
    with pytest.raises(TypeError) as caught:
        npairs(
            library.asarray(X), kind(["a", "b", "c"]), column_labels=library.asarray(Y)
        )
    assert str(caught.value).startswith("`labels` must be of numbers that ")
    assert str(caught.value).endswith(" holds, as `column_labels` is; got dtype str.")


def test_a_tensor_of_strings_is_told_what_to_do(tf):
    with pytest.raises(TypeError) as caught:
        npairs(tf.constant(X), tf.constant(["a", "b", "c"]))
    assert str(caught.value) == f"`labels` must be {MIXED}; got dtype string."


def test_labels_are_no_records(library):
    records = np.zeros(3, [("name", "i8")])
    with pytest.raises(TypeError) as caught:
        npairs(library.asarray(X), records)
    assert str(caught.value) == f"`labels` must be {MIXED}; got dtype void64."


def test_an_unknown_number_of_dimensions_is_called_so(tf):
    graph = tf.function(normalize, input_signature=[tf.TensorSpec(None, "float32")])
    with pytest.raises(ValueError, match="known number of dim") as caught:
        graph.get_concrete_function()
    assert "got TensorShape(None)." in str(caught.value)


def test_a_word_of_value_and_grad_is_no_array():
    words = r"^`reduction` must be .*; got an array of shape \(2,\)\.$"
    with pytest.raises(TypeError, match=words):
        metricops.value_and_grad(embeddings)(X, X, reduction=np.asarray(["a", "b"]))


def test_a_weight_may_be_any_integer(library):
    loss = npairs(library.asarray(X), [0, 1, 0], sample_weight=10**30)
    expected = npairs(X, [0, 1, 0], sample_weight=1e30)
    np.testing.assert_allclose(library.to_numpy(loss), expected, rtol=1e-5)


FLAGS = [
    ("npairs_loss_from_embeddings", "normalize"),
    ("npairs_loss_from_embeddings", "symmetric"),
    ("sigmoid_loss_from_embeddings", "exclude_diagonal"),
    ("contrastive_loss_from_embeddings", "normalize"),
    ("contrastive_loss_from_embeddings", "exclude_diagonal"),
    ("triplet_loss_from_embeddings", "swap"),
    ("soft_nearest_neighbor_loss_from_embeddings", "normalize"),
]


@pytest.mark.parametrize(("name", "option"), FLAGS)
@pytest.mark.parametrize("flag", ["no", 1, np.asarray([True, True])], ids=repr)
def test_a_flag_is_a_bool(name, option, flag):
    call = getattr(metricops, name)
    with pytest.raises(TypeError, match=f"^`{option}` must be True or False; got "):
        call(X, X, labels=[0, 1, 0], **{option: flag})
    assert np.isfinite(call(X, X, labels=[0, 1, 0], **{option: np.True_}))


def test_l2_weight_is_not_nan():
    with pytest.raises(ValueError, match="`l2_weight` must be a number; got nan"):
        embeddings(X, X, l2_weight=float("nan"))


def test_an_integer_beyond_all_floats_is_infinite(library):
    x = library.asarray(X)
    with pytest.raises(ValueError, match="`temperature` must be positive and finite"):
        embeddings(x, x, temperature=10**400)
    with pytest.raises(ValueError, match="`gamma` must be positive and finite"):
        metricops.circle_loss_from_embeddings(x, labels=[0, 1, 0], gamma=10**400)
    found = metricops.contrastive_loss(x[:, 0], [0, 0, 0], margin=-(10**400))
    assert library.to_numpy(found) == 0


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.float16(0.5)])
def test_a_number_of_numpy_is_a_number(library, number):
    x, y = library.asarray(X), library.asarray(X[::-1])
    for option in ("temperature", "l2_weight"):
        result = embeddings(x, y, **{option: number})
        expected = embeddings(x, y, **{option: 0.5})
        np.testing.assert_array_equal(
            library.to_numpy(result), library.to_numpy(expected)
        )


def test_an_array_without_axes_stays_an_array(gradient):
    """Its gradient is wanted, and its value cannot be looked at in a trace."""

    def loss(x, y, temperature):
        return embeddings(x, y, temperature=temperature)

    found = gradient(loss, X, X[::-1], np.asarray(0.5))
    expected = loss_and_grad(X, X[::-1], temperature=0.5)[1]
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-5)


# The same at trace time.

TRACED = [
    (lambda x: cosine(x, x[:1, ...]), "`y` must have the shape of `x`, (3, 3); "),
    (lambda x: npairs(x, x[0, :2]), "`labels` must have a label for each of 3 rows; "),
    (lambda x: embeddings(x, x[:2, ...]), "`candidates` must have a row for each of 3"),
    (lambda x: neighbors(x, k=3), "`k` must be at most 2, "),
    (lambda x: normalize(x > 0), "`x` must be of integers or real floats; got dtype b"),
]


@pytest.mark.parametrize(("call", "start"), TRACED, ids=range(len(TRACED)))
def test_jax_reports_while_it_traces(jax, call, start):
    with pytest.raises((TypeError, ValueError)) as caught:
        jax.eval_shape(call, jax.ShapeDtypeStruct((3, 3), "float32"))
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize(("call", "start"), TRACED, ids=range(len(TRACED)))
def test_tensorflow_reports_while_it_traces(tf, call, start):
    graph = tf.function(call, input_signature=[tf.TensorSpec((3, 3), "float32")])
    with pytest.raises((TypeError, ValueError)) as caught:
        graph.get_concrete_function()
    assert start in str(caught.value)


# Sizes unknown until a graph runs: the framework's own error, in its own time.

UNKNOWN = {
    "cosine_similarity": (cosine, X, [ROW]),
    "cosine_similarity_loss": (cosine_loss, X, [ROW]),
    "dot, batch": (lambda x, y: dot(x, y, axes=1), X, [ROW]),
    "dot, features": (lambda x, y: dot(x, y, axes=1), X, [[1.0]] * 3),
    "pairwise_inner_product": (inner, X, [[1.0], [2.0]]),
    "pairwise_cosine_similarity": (cosines, X, [[1.0], [2.0]]),
    "pairwise, leading": (inner, CUBE, CUBE[:1]),
    "softmax_cross_entropy": (softmax, X, [ROW]),
    "softmax_cross_entropy, columns": (softmax, X, [[1.0]] * 3),
    "npairs_loss": (npairs, X, [0]),
    "npairs_loss, too many": (npairs, X, [0, 1, 2, 3]),
    "npairs_loss, columns": (lambda s, y: npairs(s, y), SHORT, [0, 1]),
    "npairs_loss, column labels": (
        lambda s, y: npairs(s, [0, 1, 2], column_labels=y),
        X,
        [0],
    ),
    "npairs_multilabel_loss": (multilabel, X, HOT[:1]),
    "sample_weight": (
        lambda s, w: npairs(s, [0, 1, 2], sample_weight=w),
        X,
        [1.0, 2.0],
    ),
    "sample_weight, per step": (
        lambda x, w: cosine_loss(x, x, sample_weight=w),
        CUBE,
        [1.0, 2.0, 3.0],
    ),
    "embeddings, features": (embeddings, X, [[1.0]] * 3),
    "embeddings, too few": (embeddings, X, SHORT),
    "embeddings, one": (embeddings, X, [ROW]),
    "embeddings, symmetric": (
        lambda x, y: embeddings(x, y, symmetric=True),
        X,
        LONG,
    ),
    "embeddings, exclude_diagonal": (
        lambda x, y: embeddings(
            x, y, [0, 1, 0], candidate_labels=[0, 1], exclude_diagonal=True
        ),
        X,
        SHORT,
    ),
    "embeddings, labels": (lambda x, y: embeddings(x, x, y), X, [0]),
    "embeddings, multilabels": (lambda x, y: embeddings(x, x, y), X, HOT[:1]),
    "embeddings, weights": (
        lambda x, w: embeddings(x, x, sample_weight=w),
        X,
        [1.0, 2.0],
    ),
    "neighbors, features": (neighbors, X, [[1.0]] * 3),
    "neighbors, too few": (lambda x, y: neighbors(x, y, k=3), X, SHORT),
    "recall, labels": (lambda x, y: recall(x, y, k=1), X, [0]),
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("mode", ["unknown", "xla"])
def test_a_size_unknown_while_tracing_is_checked_at_run_time(tf, name, mode):
    call, *values = UNKNOWN[name]
    library = Library("tensorflow")
    arrays = tuple(map(library.asarray, values))
    graph = tf.function(
        call,
        input_signature=[tf.TensorSpec([None] * x.ndim, x.dtype) for x in arrays],
        jit_compile=mode == "xla",
    )
    with pytest.raises(tf.errors.OpError):
        graph(*arrays)
