"""Become a program: read its argv and environment from a JSON file, then exec.

The supervisor's own file format cuts values at ` ;`, expands `%` and quotes in its own way; a command handed over as
JSON arrives as it is. Run as a file, with nothing but the standard library.
"""

import json
import os
import sys
from pathlib import Path


def main(path: str) -> None:
    """Replace this process by the program that the file describes."""
    program = json.loads(Path(path).read_text("utf-8"))
    os.execve(program["argv"][0], program["argv"], {**os.environ, **program["env"]})  # noqa: S606  # becoming it is the point


if __name__ == "__main__":
    main(sys.argv[1])
