"""The findings of the papers, tried again with grids of small trainings: docs/findings.md."""
