"""Names of columns as other people write them -> names that a declaration takes."""

from __future__ import annotations

import re
import unicodedata

from braid.declaration_file import RESERVED

LONGEST = 48
_NAME = re.compile(rf"(?!.*__)[a-z][a-z0-9_]{{0,{LONGEST - 1}}}")
_WORD = re.compile(r"(?<=[a-z0-9]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # dB and pH are one word each
_OTHER = re.compile(r"[^a-z0-9]+")


def is_name(text: str) -> bool:
    """Return whether a declaration takes a name: lower-case letters, digits and single underscores."""
    return _NAME.fullmatch(text) is not None


def declarable(name: str) -> bool:
    """Return whether a field can be called so: a name that Braid's own columns do not have."""
    return is_name(name) and name not in RESERVED


def column_name(header: str) -> str:
    """Return the field that a column of a table is, by its header.

    A header that a declaration takes stays as it is; of any other the words are written small, joined by underscores,
    and what Braid's own columns are called is the file's own. One without a Latin letter or digit also stays as it is:
    no field can be called so, and the column is passed over.

    Examples
    --------
    >>> [column_name(h) for h in ("room", "Trip Distance (mi)", "PULocationID", "dB", "2019", "Température", "day")]
    ['room', 'trip_distance_mi', 'pu_location_id', 'db', 'c2019', 'temperature', 'own_day']
    """
    if declarable(header):
        return header
    latin = unicodedata.normalize("NFKD", header).encode("ascii", "ignore").decode()
    plain = _OTHER.sub("_", _WORD.sub("_", latin).lower()).strip("_")
    if not plain:
        return header
    name = (plain if plain[0].isalpha() else f"c{plain}")[:LONGEST].rstrip("_")
    return f"own_{name}" if name in RESERVED else name
