"""Posts: their text, their pictures, and which posts are duplicates.

In go tables in many forms (files from CSV to SPSS, data frames, lists of mappings); out
comes one form with one row per post, and RGB pictures or a status that says why a
picture cannot be used. Start reading at `posts.py`, then `images.py`.
"""

from mmevent.posts.archives import MAX_BYTES
from mmevent.posts.duplicates import connected_groups
from mmevent.posts.images import Images, load_image
from mmevent.posts.imports import ImportedPosts, import_posts
from mmevent.posts.pillow import MAX_PIXELS
from mmevent.posts.posts import (
    duplicate_groups,
    flatten_images,
    parse_created_at,
    to_posts,
)
from mmevent.posts.records import POST_COLUMNS
from mmevent.posts.sources import STATUSES
from mmevent.tables.tables import read_table, write_table

__all__ = [
    "Images",
    "ImportedPosts",
    "MAX_BYTES",
    "MAX_PIXELS",
    "POST_COLUMNS",
    "STATUSES",
    "connected_groups",
    "duplicate_groups",
    "flatten_images",
    "import_posts",
    "load_image",
    "parse_created_at",
    "read_table",
    "to_posts",
    "write_table",
]
