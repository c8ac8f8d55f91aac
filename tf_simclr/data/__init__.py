"""Data sets, augmentation, and batches of them."""
