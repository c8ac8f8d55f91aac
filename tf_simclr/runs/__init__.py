"""The run directory: its lock, and the names of its files."""
