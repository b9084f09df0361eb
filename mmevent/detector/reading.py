"""How tables of posts are read: names of columns, and where pictures may lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmevent.posts.needed import check_needed
from mmevent.posts.prepared import Prepared
from mmevent.posts.usable import check_any_usable

if TYPE_CHECKING:
    import pandas as pd

    from mmevent.detector.detector import EventDetector

WITHOUT = {
    "text": "for a detector of images alone, pass text=None",
    "images": "for a detector of texts alone, pass image=None",
}
"""How to do without a column, by our name of it."""


@dataclass(frozen=True)
class Reading:
    """How tables of posts are read: names of columns, and where pictures may lie.

    Parameters
    ----------
    columns : mapping or None
        Our names of columns to the caller's, as in `EventDetector`.
    image_root : str, path or None
        Folder or zip that paths of pictures start from.
    allow_outside_root : bool
        Whether pictures outside that folder are opened.
    verbose : bool
        Whether progress is shown.

    Examples
    --------
    >>> from mmevent.detector import Reading
    >>> reading = Reading({"text": "body"}, None, False, verbose=False)
    >>> len(reading.read([{"body": "They march"}], {}))
    1
    """

    columns: Mapping[str, Any] | None
    image_root: Any
    allow_outside_root: bool
    verbose: bool

    @classmethod
    def of(cls, detector: EventDetector) -> Reading:
        """Take the present parameters of a detector."""
        return cls(
            detector.columns,
            detector.image_root,
            detector.allow_outside_root,
            detector.verbose,
        )

    def read(
        self, posts: Any, needed: Mapping[str, str], *, for_fit: bool = False
    ) -> Prepared:
        """Read posts in any form, without opening a picture.

        `needed` are columns that they must have, see `check_needed`.
        """
        check_needed(posts, self.columns, needed, for_fit=for_fit)
        return Prepared.of(
            posts,
            columns=self.columns,
            image_root=self.image_root,
            allow_outside_root=self.allow_outside_root,
        )

    def read_for_fit(self, posts: Any, *, texts: bool, images: bool) -> Prepared:
        """Read the posts of a fit that needs texts, images or both.

        No picture is decoded; one at least must be there, if there are paths.
        """
        wanted = {"text": texts, "images": images}
        needed = {name: WITHOUT[name] for name in wanted if wanted[name]}
        prepared = self.read(posts, needed, for_fit=True)
        if images:
            check_any_usable([prepared.images], WITHOUT["images"])
        return prepared

    def read_own(self, table: pd.DataFrame) -> Prepared:
        """Read some of the posts from `to_posts`, which checked them as a whole."""
        return Prepared.of_table(
            table,
            image_root=self.image_root,
            allow_outside_root=self.allow_outside_root,
        )
