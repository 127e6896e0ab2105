"""One page of a listing as bytes: in the format that was asked for, with the address of the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import request

from serving import answers, columns, cursors, formats
from serving.answers import Answer
from serving.cursors import Cursor
from serving.params import Query
from serving.replies import Body
from serving.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Page:
    """How the answer to the request at hand is written.

    Attributes
    ----------
    rename : the names that a declared path gives to columns
    bare : an array of rows and nothing around it, as earlier users know it
    format : json, csv or arrow
    """

    query: Query
    rename: Mapping[str, str]
    bare: bool
    format: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "format", formats.chosen(self.query.format))

    def body(self, answer: Answer, snapshot: Snapshot) -> Body:
        """Return an answer as bytes."""
        following = None if answer.following is None else self._next(answer.following, snapshot)
        rows = answers.renamed(answer.rows, self.rename)
        if self.format != "json":
            data = formats.written(self.format, columns.renamed(answer.columns, self.rename), rows, answer.meta)
        else:
            data = orjson.dumps(rows if self.bare else {"data": rows, "meta": answer.meta, "next": following})
        return Body(data, answer.receipt, formats.MEDIA[self.format], following)

    def _next(self, offset: int, snapshot: Snapshot) -> str:
        row, query = snapshot.tail.row, self.query
        place = (snapshot.generation.current.gen, row.seq, row.attempt)
        cursor = Cursor(*place, offset, query.from_us, query.to_us, cursors.short_hash(query.listing()))
        asked: list[tuple[str, Any]] = [(k, v) for k, v in request.args.items(multi=True) if k != "cursor"]
        return f"{request.path}?{urlencode([*asked, ('cursor', cursor.text())])}"
