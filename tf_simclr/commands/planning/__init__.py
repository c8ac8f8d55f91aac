"""What a training will do and how long it takes, and recipes that fit a time."""
