"""Results -> Markdown tables, and one HTML page. No TensorFlow here.

results.json, events -> runs.py (checked by schema.py, curves.py) -> facts.py, gallery.py, charts.py -> page.py
"""

from tf_simclr.report.markdown_tables import results_table, stages_table
from tf_simclr.report.page import write

NAME = "report.html"  # in a run directory
__all__ = ["NAME", "results_table", "stages_table", "write"]
