"""From predictions to statements about a corpus, and the agreement of coders.

In go the predictions for a corpus and the codes of a random sample; out come the number
of events, precision and recall with intervals. Start reading at `sampling.py`, then
`estimate.py`.
"""

from mmevent.corpus.adjudication import to_adjudicate
from mmevent.corpus.coders import Agreement, agreement
from mmevent.corpus.differential import DifferentialErrors, differential_errors
from mmevent.corpus.estimate import CorpusEstimate, estimate_corpus
from mmevent.corpus.export import export_run, read_run, run_status
from mmevent.corpus.label_studio import label_studio_tasks, read_coded
from mmevent.corpus.pseudo_outcomes import regression_table
from mmevent.corpus.regression import Regression, fit_regression
from mmevent.corpus.run import CorpusRun, predict
from mmevent.corpus.sampling import draw_sample, expected_widths, sample_size

__all__ = [
    "Agreement",
    "CorpusEstimate",
    "CorpusRun",
    "DifferentialErrors",
    "Regression",
    "agreement",
    "differential_errors",
    "draw_sample",
    "estimate_corpus",
    "expected_widths",
    "export_run",
    "fit_regression",
    "label_studio_tasks",
    "predict",
    "read_coded",
    "read_run",
    "regression_table",
    "run_status",
    "sample_size",
    "to_adjudicate",
]
