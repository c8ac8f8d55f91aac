"""What measures speed and memory. Each module prints a Markdown table whose baseline comes from the same run."""
