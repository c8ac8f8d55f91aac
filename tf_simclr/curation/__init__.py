"""Which images to label, and what is wrong with images and labels: arrays in, numbers out."""
