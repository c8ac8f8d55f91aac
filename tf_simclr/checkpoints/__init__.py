"""Checkpoints and trained weights on disk, whoever wrote them."""
