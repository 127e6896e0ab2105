"""Third-party JavaScript out of the webjars, for Flask to serve: same origin, no CDN, no file of theirs in the repository.

Each file begins with its author's notice, which goes to the browser with it; Leaflet's names no terms, so its licence
(BSD-2-Clause) is served beside it.
"""

import zipfile
from pathlib import Path

INSIDE = "META-INF/resources/webjars"
# in the order a page must load them: both plugins and the adapter register themselves with Chart
FILES = {
    "chart.js-4.5.1.jar": ("chart.js/4.5.1/dist/chart.umd.min.js",),
    "luxon-3.7.2.jar": ("luxon/3.7.2/build/global/luxon.min.js",),
    "chartjs-adapter-luxon-1.3.1.jar": ("chartjs-adapter-luxon/1.3.1/dist/chartjs-adapter-luxon.umd.min.js",),
    "hammerjs-2.0.8.jar": ("hammerjs/2.0.8/hammer.min.js",),
    "chartjs-plugin-annotation-3.1.0.jar": ("chartjs-plugin-annotation/3.1.0/dist/chartjs-plugin-annotation.min.js",),
    "chartjs-plugin-zoom-2.2.0.jar": ("chartjs-plugin-zoom/2.2.0/dist/chartjs-plugin-zoom.min.js",),
    "leaflet-1.9.4.jar": ("leaflet/1.9.4/dist/leaflet.js", "leaflet/1.9.4/dist/leaflet.css", "leaflet/1.9.4/LICENSE"),
}


def names() -> tuple[str, ...]:
    """Return the file names below `files/`, scripts in the order a page must load them."""
    return tuple(_name(inside) for files in FILES.values() for inside in files)


def extract(folder: Path) -> None:
    """Write each library's files from the webjars in `folder` to `folder/files/`."""
    (folder / "files").mkdir(exist_ok=True)
    for jar, files in FILES.items():
        with zipfile.ZipFile(folder / jar) as archive:
            for inside in files:
                (folder / "files" / _name(inside)).write_bytes(archive.read(f"{INSIDE}/{inside}"))


def complete(folder: Path) -> bool:
    """Return whether every file has been extracted."""
    return all((folder / "files" / name).exists() for name in names())


def _name(inside: str) -> str:
    path = Path(inside)
    return f"{path.parts[0]}-LICENSE.txt" if path.name == "LICENSE" else path.name
