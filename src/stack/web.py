"""Third-party JavaScript out of the webjars, for Flask to serve: same origin, no CDN, no file of theirs in the repository."""

import zipfile
from pathlib import Path

INSIDE = "META-INF/resources/webjars"
# in the order a page must load them: both plugins and the adapter register themselves with Chart
FILES = {
    "chart.js-4.5.1.jar": "chart.js/4.5.1/dist/chart.umd.min.js",
    "luxon-3.7.2.jar": "luxon/3.7.2/build/global/luxon.min.js",
    "chartjs-adapter-luxon-1.3.1.jar": "chartjs-adapter-luxon/1.3.1/dist/chartjs-adapter-luxon.umd.min.js",
    "hammerjs-2.0.8.jar": "hammerjs/2.0.8/hammer.min.js",
    "chartjs-plugin-annotation-3.1.0.jar": "chartjs-plugin-annotation/3.1.0/dist/chartjs-plugin-annotation.min.js",
    "chartjs-plugin-zoom-2.2.0.jar": "chartjs-plugin-zoom/2.2.0/dist/chartjs-plugin-zoom.min.js",
}


def names() -> tuple[str, ...]:
    """Return the file names below `files/`, in the order a page must load them."""
    return tuple(Path(inside).name for inside in FILES.values())


def extract(folder: Path) -> None:
    """Write each library's one file from the webjars in `folder` to `folder/files/`."""
    (folder / "files").mkdir(exist_ok=True)
    for jar, inside in FILES.items():
        with zipfile.ZipFile(folder / jar) as archive:
            (folder / "files" / Path(inside).name).write_bytes(archive.read(f"{INSIDE}/{inside}"))


def complete(folder: Path) -> bool:
    """Return whether every file has been extracted."""
    return all((folder / "files" / name).exists() for name in names())
