"""Made-up posts, pictures and scores for which the best rule is known.

In goes a seed; out come posts with texts and pictures, or only their probabilities,
with labels and the best rule in the population that they are drawn from. The tests,
the examples and the demo use them. Start reading at `posts.py`.
"""

from mmevent.synthetic.demo import ImageStatistics, demo_branches
from mmevent.synthetic.posts import make_posts
from mmevent.synthetic.scores import make_scores
from mmevent.synthetic.truth import SyntheticScores, Truth

__all__ = [
    "ImageStatistics",
    "SyntheticScores",
    "Truth",
    "demo_branches",
    "make_posts",
    "make_scores",
]
