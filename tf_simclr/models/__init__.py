"""Keras layers: the ResNet encoder, heads and decoders."""
