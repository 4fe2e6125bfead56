"""Keras 3 losses, layers and metrics over metricops, on any of Keras' backends.

What those import who had ``tensorflow_addons.losses.NpairsLoss``, TensorFlow
Similarity's ``MetricEmbedding``, or Keras' own ``CosineSimilarity`` and ``Dot``: the
same names, arguments, configs and numbers, without the originals' faults.
"""

from metricops.adapters import distances as distances
from metricops.adapters.distances import CosineDistance as CosineDistance
from metricops.adapters.distances import EuclideanDistance as EuclideanDistance
from metricops.adapters.distances import (
    InnerProductSimilarity as InnerProductSimilarity,
)
from metricops.adapters.distances import ManhattanDistance as ManhattanDistance
from metricops.adapters.distances import SNRDistance as SNRDistance
from metricops.adapters.distances import (
    SquaredEuclideanDistance as SquaredEuclideanDistance,
)

from . import layers as layers
from . import losses as losses
from . import metrics as metrics
from ._batch import BarlowTwinsLoss as BarlowTwinsLoss
from ._batch import Circle as Circle
from ._batch import CoSENTLoss as CoSENTLoss
from ._batch import LiftedStructLoss as LiftedStructLoss
from ._batch import LiftedStructureLoss as LiftedStructureLoss
from ._batch import MarginSoftmaxLoss as MarginSoftmaxLoss
from ._batch import VICRegLoss as VICRegLoss
from ._batch import lifted_struct_loss as lifted_struct_loss
from ._memory import XBM as XBM
from ._memory import CrossBatchMemory as CrossBatchMemory
from ._siblings import ContrastiveEmbeddingLoss as ContrastiveEmbeddingLoss
from ._siblings import ContrastiveLoss as ContrastiveLoss
from ._siblings import SigmoidEmbeddingLoss as SigmoidEmbeddingLoss
from ._siblings import TripletEmbeddingLoss as TripletEmbeddingLoss
from ._siblings import TripletHardLoss as TripletHardLoss
from ._siblings import TripletSemiHardLoss as TripletSemiHardLoss
from ._siblings import contrastive_loss as contrastive_loss
from ._siblings import triplet_hard_loss as triplet_hard_loss
from ._siblings import triplet_semihard_loss as triplet_semihard_loss
from ._similarity import Barlow as Barlow
from ._similarity import CircleLoss as CircleLoss
from ._similarity import MultiNegativesRankLoss as MultiNegativesRankLoss
from ._similarity import MultiSimilarityLoss as MultiSimilarityLoss
from ._similarity import PNLoss as PNLoss
from ._similarity import SimCLRLoss as SimCLRLoss
from ._similarity import SimSiamLoss as SimSiamLoss
from ._similarity import SoftNearestNeighborLoss as SoftNearestNeighborLoss
from ._similarity import TripletLoss as TripletLoss
from ._similarity import VicReg as VicReg
from .layers import Dot as Dot
from .layers import MetricEmbedding as MetricEmbedding
from .layers import PairwiseCosineSimilarity as PairwiseCosineSimilarity
from .layers import PairwiseInnerProduct as PairwiseInnerProduct
from .losses import CosineSimilarity as CosineSimilarity
from .losses import NPairsEmbeddingLoss as NPairsEmbeddingLoss
from .losses import NPairsLoss as NPairsLoss
from .losses import NpairsLoss as NpairsLoss
from .losses import NPairsMultilabelLoss as NPairsMultilabelLoss
from .losses import NpairsMultilabelLoss as NpairsMultilabelLoss
from .losses import cosine_similarity as cosine_similarity
from .losses import npairs_loss as npairs_loss
from .losses import npairs_multilabel_loss as npairs_multilabel_loss
