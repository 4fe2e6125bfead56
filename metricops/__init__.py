"""Metric-learning operations on the arrays of any library."""

from metricops._losses import soft_nearest_neighbor as _soft_nearest_neighbor
from metricops._losses.barlow_twins import barlow_twins_loss as barlow_twins_loss
from metricops._losses.circle import (
    circle_loss_from_embeddings as circle_loss_from_embeddings,
)
from metricops._losses.contrastive import contrastive_loss as contrastive_loss
from metricops._losses.contrastive import (
    contrastive_loss_from_embeddings as contrastive_loss_from_embeddings,
)
from metricops._losses.cosent import cosent_loss as cosent_loss
from metricops._losses.cosine import cosine_similarity_loss as cosine_similarity_loss
from metricops._losses.lifted_structure import (
    lifted_structure_loss_from_embeddings as lifted_structure_loss_from_embeddings,
)
from metricops._losses.margin_softmax import (
    margin_softmax_loss_from_embeddings as margin_softmax_loss_from_embeddings,
)
from metricops._losses.multi_similarity import (
    multi_similarity_loss_from_embeddings as multi_similarity_loss_from_embeddings,
)
from metricops._losses.npairs import npairs_loss as npairs_loss
from metricops._losses.npairs import npairs_multilabel_loss as npairs_multilabel_loss
from metricops._losses.npairs_embeddings import (
    npairs_loss_and_grad as npairs_loss_and_grad,
)
from metricops._losses.npairs_embeddings import (
    npairs_loss_from_embeddings as npairs_loss_from_embeddings,
)
from metricops._losses.sigmoid import (
    sigmoid_loss_from_embeddings as sigmoid_loss_from_embeddings,
)
from metricops._losses.softmax import softmax_cross_entropy as softmax_cross_entropy
from metricops._losses.triplet import triplet_loss as triplet_loss
from metricops._losses.triplet import (
    triplet_loss_from_embeddings as triplet_loss_from_embeddings,
)
from metricops._losses.value_and_grad import value_and_grad as value_and_grad
from metricops._losses.vicreg import vicreg_loss as vicreg_loss
from metricops._retrieval.at_k import ndcg_at_k as ndcg_at_k
from metricops._retrieval.at_k import precision_at_k as precision_at_k
from metricops._retrieval.at_k import recall_at_k as recall_at_k
from metricops._retrieval.neighbors import nearest_neighbors as nearest_neighbors
from metricops._retrieval.ranks import (
    mean_average_precision as mean_average_precision,
)
from metricops._retrieval.ranks import (
    mean_reciprocal_rank as mean_reciprocal_rank,
)
from metricops._similarity.distances import (
    pairwise_cosine_distance as pairwise_cosine_distance,
)
from metricops._similarity.distances import (
    pairwise_euclidean_distance as pairwise_euclidean_distance,
)
from metricops._similarity.distances import (
    pairwise_manhattan_distance as pairwise_manhattan_distance,
)
from metricops._similarity.distances import (
    pairwise_snr_distance as pairwise_snr_distance,
)
from metricops._similarity.distances import (
    pairwise_squared_euclidean_distance as pairwise_squared_euclidean_distance,
)
from metricops._similarity.dot import dot as dot
from metricops._similarity.normalize import cosine_similarity as cosine_similarity
from metricops._similarity.normalize import l2_normalize as l2_normalize
from metricops._similarity.pairwise import (
    pairwise_cosine_similarity as pairwise_cosine_similarity,
)
from metricops._similarity.pairwise import (
    pairwise_inner_product as pairwise_inner_product,
)
from metricops._typing import Denominator as Denominator
from metricops._typing import Gather as Gather
from metricops._typing import Reduction as Reduction
from metricops._typing import TermReduction as TermReduction

# Its name is too long to be said twice on a line.
soft_nearest_neighbor_loss_from_embeddings = (
    _soft_nearest_neighbor.soft_nearest_neighbor_loss_from_embeddings
)
