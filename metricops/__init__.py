"""Metric-learning operations on the arrays of any library."""

from metricops._contrast import npairs_loss_and_grad as npairs_loss_and_grad
from metricops._contrast import (
    npairs_loss_from_embeddings as npairs_loss_from_embeddings,
)
from metricops._cosine import cosine_similarity as cosine_similarity
from metricops._cosine import cosine_similarity_loss as cosine_similarity_loss
from metricops._distances import pairwise_cosine_distance as pairwise_cosine_distance
from metricops._distances import (
    pairwise_euclidean_distance as pairwise_euclidean_distance,
)
from metricops._distances import (
    pairwise_manhattan_distance as pairwise_manhattan_distance,
)
from metricops._distances import pairwise_snr_distance as pairwise_snr_distance
from metricops._distances import (
    pairwise_squared_euclidean_distance as pairwise_squared_euclidean_distance,
)
from metricops._dot import dot as dot
from metricops._neighbors import nearest_neighbors as nearest_neighbors
from metricops._neighbors import recall_at_k as recall_at_k
from metricops._normalize import l2_normalize as l2_normalize
from metricops._npairs import npairs_loss as npairs_loss
from metricops._npairs import npairs_multilabel_loss as npairs_multilabel_loss
from metricops._pairwise import pairwise_cosine_similarity as pairwise_cosine_similarity
from metricops._pairwise import pairwise_inner_product as pairwise_inner_product
from metricops._softmax import softmax_cross_entropy as softmax_cross_entropy
from metricops._typing import Reduction as Reduction
