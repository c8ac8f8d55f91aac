"""What run.py carries out: a file for each value of --mode."""
