"""Methods that learn from labels and from images without, one file each."""
