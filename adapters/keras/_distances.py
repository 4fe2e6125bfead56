"""TensorFlow Similarity's distances, registered with Keras."""

import keras
from metricops.adapters import distances

CLASSES = (
    distances.CosineDistance,
    distances.EuclideanDistance,
    distances.InnerProductSimilarity,
    distances.ManhattanDistance,
    distances.SNRDistance,
    distances.SquaredEuclideanDistance,
)

for cls in CLASSES:
    keras.saving.register_keras_serializable(package="metricops")(cls)
