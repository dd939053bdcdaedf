"""A folder of pages that opens from disk: an index to search and sort, a page and a JSON file for each feature."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from expander_theory.base import InvalidFile
from sae_bridge.features.describe import top_tokens
from sae_bridge.features.spelling import marked, visible

INDEX, DATA = "index.html", "features.json"
_ASSETS, _SCRIPT = ("style.css", "pages.js"), "features.js"


def require_writable(folder: Path, *, force: bool = False) -> None:
    """Raise :class:`InvalidFile` unless the folder is new or empty, or holds pages and ``force`` is given."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / INDEX).is_file() or not (folder / DATA).is_file():
        ours = (*_ASSETS, "feature", DATA, _SCRIPT)
        unfinished = all(path.name in ours or path.name.startswith(".") for path in folder.iterdir())
        if not unfinished:
            raise InvalidFile(folder, "is not empty and holds no pages of features; choose another folder")
    elif not force:
        raise InvalidFile(folder, "holds pages of features already; choose another folder, or give --force")


def write_pages(folder: Path, about: Mapping[str, Any], features: Iterable[Mapping[str, Any]]) -> int:
    """Write the folder, feature by feature; the index comes last.

    Args:
        folder: for ``index.html``, ``features.json`` (and the same as a script), ``feature/NUMBER.html`` and ``.json``.
        about: what the index says of the SAE: ``title``, and ``facts``, pairs of a name and a text.
        features: as :func:`sae_bridge.features.described` yields them; taken one at a time.

    Returns:
        Bytes written.
    """
    digits = len(str(max(0, int(about["n"]) - 1)))
    name = _Name(digits)
    templates = _templates(name)
    page, written = templates.get_template("feature.html"), 0
    numbers, rows = [int(j) for j in about["features"]], []
    shown = frozenset(numbers)
    before, after = (
        dict(zip(x, y, strict=True)) for x, y in ((numbers[1:], numbers[:-1]), (numbers[:-1], numbers[1:]))
    )
    (folder / INDEX).unlink(missing_ok=True)  # until everything is there, these pages count as unfinished
    for path in sorted((folder / "feature").glob("*")):
        path.unlink()
    for asset in _ASSETS:
        source = templates.loader and templates.loader.get_source(templates, asset)[0]
        written += _write(folder / asset, source or "")
    for fields in features:
        j = fields["feature"]
        text = page.render(about=about, f=fields, before=before.get(j), after=after.get(j), shown=shown)
        written += _write(folder / "feature" / f"{name(j)}.html", text)
        written += _write(folder / "feature" / f"{name(j)}.json", _json(fields))
        rows.append(_row(fields))
    index = {"digits": digits, "title": about["title"], "facts": about["facts"], "features": rows}
    text = _json(index)
    written += _write(folder / DATA, text) + _write(folder / _SCRIPT, f"window.FEATURES = {text};\n")
    return written + _write(folder / INDEX, templates.get_template("index.html").render(about=about, rows=rows))


class _Name:
    """Numbers of features as names of files, all of one length."""

    def __init__(self, digits: int) -> None:
        self._digits = digits

    def __call__(self, feature: int) -> str:
        return f"{feature:0{self._digits}d}"


def _row(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the index holds of a feature."""
    return {
        "feature": fields["feature"],
        "rate": fields["rate"],
        "effective_degree": fields["effective_degree"],
        "effect": fields["promotes"][0]["effect"] if fields["promotes"] else 0.0,
        "fires_on": [marked(text) for text in top_tokens(fields)],
        "promotes": [marked(token["text"]) for token in fields["promotes"][:4]],
        "explanation": fields["explanation"],
        "score": fields["score"],
    }


def _templates(name: _Name) -> Environment:
    templates = Environment(
        loader=PackageLoader("sae_bridge.features", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"page": name, "shaded": _shaded, "marked": marked, "bars": _bars, "grouped": _grouped}
    return templates


def _grouped(examples: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for example in examples:
        found.setdefault(example["group"], []).append(example)
    return found


def _shaded(example: Mapping[str, Any], largest: float) -> Markup:
    """An example's text, escaped, with the tokens that fire in marks whose strength is their share of ``largest``."""
    parts: list[Markup] = []
    for text, act in zip(example["tokens"], example["acts"], strict=True):
        shown = escape(visible(text))
        if act:
            share = min(1.0, abs(act) / largest) if largest else 0.0
            sign = Markup(' class="neg"') if act < 0 else ""
            shown = Markup('<mark{} style="--a:{}" title="{}">{}</mark>').format(sign, f"{share:.2f}", act, shown)
        parts.append(shown)
    return Markup("").join(parts)


def _bars(counts: Iterable[int]) -> list[float]:
    """Heights of a histogram in per cent of the highest, by square roots, so that rare ones are seen."""
    counts = list(counts)
    most = max(counts, default=0)
    return [round(100 * (count / most) ** 0.5, 1) if most else 0.0 for count in counts]


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _write(path: Path, text: str) -> int:
    """Not atomically: pages without an index count as unfinished and are written again."""
    raw = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return len(raw)
