"""The model folder: a fitted detector to files and back, without pickle.

In goes a fitted `EventDetector`; out comes a folder that `load` reads back. Start
reading at `saving.py`, which says what the folder holds; `folder.py` writes and checks
it, `objects.py` stores the branches, `card.py` is the model card, and
`preregistration.py` and `checklist.py` are what to register and to report.
"""

from mmevent.persistence.saving import load, save

__all__ = [
    "load",
    "save",
]
