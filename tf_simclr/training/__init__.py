"""Everything that happens between a configuration and trained weights."""
