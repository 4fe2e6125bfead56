"""Losses and layers for Keras, PyTorch and Flax, one module each."""
