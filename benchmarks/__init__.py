"""What measures speed and memory: tables in Markdown whose baseline comes from the same run."""
