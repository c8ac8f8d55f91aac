"""Results -> Markdown tables, and one HTML page. No TensorFlow here.

results.json, events -> runs.py (checked by schema.py, training_curves.py)
-> headline.py, label_answer.py, page_tables.py, gallery.py, charts.py, training_charts.py
-> page.py
-> contenders.py (intervals.py, image_bits.py) -> verdict.py, verdict_notes.py -> verdict_chart.py
"""

from tf_simclr.report.label_answer import labels_needed
from tf_simclr.report.markdown_tables import results_table, stages_table
from tf_simclr.report.page import write
from tf_simclr.report.verdict import advised
from tf_simclr.report.verdict import text_of as verdict_text

__all__ = ["advised", "labels_needed", "results_table", "stages_table", "verdict_text", "write"]
