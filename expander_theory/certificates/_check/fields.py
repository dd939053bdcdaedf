"""Reading a certificate: JSON, format, version, the fields of FORMAT.md and their types, the hash of itself."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from expander_theory.results import canonical_json

FORMAT, VERSIONS = "expander-certificate", (1, 2, 3)

_SIDES = ({"left": str, "right": str, "slack": str},)
FIELDS: dict[str, Any] = {
    "format": str,
    "version": int,
    "dictionary": {"sha256": str, "m": int, "n": int, "d": int},
    "dynamic_range": str,
    "facts": {
        "norms": {"least": str, "least_column": int, "largest": str, "largest_column": int},
        "zeros": {"count": int, "first_column": (int,)},
        "flatness": {"C_squared": str, "C_column": int, "beta": str, "beta_column": int},
        "binary": bool,
        "overlap": {"largest": int, "pair": ([int],)},
        "triangle_free": (bool,),
        "losses": [{"size": int, "loss": int, "by": str, "from": (int,), "witness": ([int],)}],
        "gram": {"sums": [str], "columns": [(int,)]},
    },
    "claims": [
        {"theorem": str, "goal": str, "states": str, "k": int, "at_k": _SIDES, "at_next": _SIDES, "refused": (str,)}
    ],
    "sha256": str,
}
"""Types of all fields: a dict has these keys and no others, [x] is a list of x, (x,) is x or null."""

MASKLESS_FIELDS = FIELDS | {
    "dictionary": {"sha256": str, "kind": str, "m": int, "n": int},
    "facts": {"norms": FIELDS["facts"]["norms"], "gram": FIELDS["facts"]["gram"]},
}
"""Those of version 3."""

_NAMES = {str: "a string", int: "an integer", bool: "true or false", dict: "an object", list: "a list"}


class Refused(Exception):
    """One field (a path such as ``claims[4].at_k.left``) and what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)


def shown(value: Any) -> str:
    """A stored value as messages print it, shortened if very long."""
    try:
        text = "null" if value is None else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists inside lists
        return f"a {type(value).__name__} too long to print"
    return text if len(text) <= 300 else f"{text[:200]}... ({len(text)} characters)"


def read_certificate(certificate: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any]:
    """The certificate as a dict of the fields and types of :data:`FIELDS` that matches its own hash.

    Raises:
        Refused: unreadable, not a certificate, another version, a missing, extra or mistyped field, altered.
    """
    content = dict(certificate) if isinstance(certificate, Mapping) else parse(Path(certificate))
    if isinstance(content, dict) and content.get("format") == "expander-sampled-certificate":
        raise Refused("", "a sampled certificate, which `check_sampled_certificate` reads")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Refused("", f"not a certificate (its format is not {FORMAT!r})")
    version = content.get("version")
    if type(version) is not int or version not in VERSIONS:
        raise Refused("version", f"is {shown(version)}, this release reads versions 1, 2 and 3")
    _conform("", content, FIELDS if version < 3 else MASKLESS_FIELDS)
    digest = hash_of(content)
    if digest != content["sha256"]:
        raise Refused("sha256", f"altered: the certificate says {shown(content['sha256'])}, its content has {digest!r}")
    return content


def hash_of(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON of everything but the field ``sha256``."""
    hashed = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(canonical_json(hashed).encode()).hexdigest()


def rational(field: str, text: str) -> Fraction:
    """The rational that ``text`` spells as "p/q" in lowest terms (q > 1) or "p"."""
    if re.fullmatch(r"[0-9]{1,1000}(/[0-9]{1,1000})?", text) and not text.endswith("/0"):
        numerator, _, denominator = text.partition("/")
        value = Fraction(int(numerator), int(denominator or 1)) if int(denominator or 1) else None
        if value is not None and str(value) == text:
            return value
    raise Refused(field, f"is {shown(text)}, must be a rational of at most 1000 digits in lowest terms, 'p/q' or 'p'")


def agree(field: str, stored: Any, true: Any) -> None:
    """Raise :class:`Refused`, naming the first field that differs, unless ``stored`` is exactly ``true``."""
    if isinstance(true, dict) and isinstance(stored, dict):
        for name in true:
            agree(f"{field}.{name}", stored[name], true[name])
    elif isinstance(true, list) and isinstance(stored, list):
        if len(stored) != len(true):
            raise Refused(field, f"has {len(stored)} entries, the true number is {len(true)}")
        for i, (one, other) in enumerate(zip(stored, true, strict=True)):
            agree(f"{field}[{i}]", one, other)
    elif type(stored) is not type(true) or stored != true:
        raise Refused(field, f"the certificate says {shown(stored)}, the true value is {shown(true)}")


def require_fields(content: Any, fields: dict[str, Any]) -> None:
    """Raise :class:`Refused` unless the content has these fields of these types, and no others."""
    _conform("", content, fields)


def parse(path: Path) -> Any:
    if not path.is_file():
        raise Refused("", "is not a file" if path.exists() else "no such file")
    try:
        return json.loads(path.read_bytes().decode(), object_pairs_hook=_object)
    except RecursionError:
        raise Refused("", "not a certificate (nested too deeply)") from None
    except ValueError as error:
        raise Refused("", f"truncated or not JSON ({error})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise Refused("", f"field {next(name for name in names if names.count(name) > 1)!r} occurs twice in one object")
    return content


def _conform(field: str, value: Any, kind: Any) -> None:
    if isinstance(kind, tuple):
        if value is not None:
            _conform(field, value, kind[0])
        return
    wanted = type(kind) if isinstance(kind, dict | list) else kind
    if type(value) is not wanted:  # bool is no int here
        raise Refused(field, f"is {shown(value)}, must be {_NAMES[wanted]}")
    if wanted is int and not -(2**63) <= value < 2**63:
        raise Refused(field, f"is {shown(value)}, must be an integer of 64 bits")
    if isinstance(kind, list):
        for i, item in enumerate(value):
            _conform(f"{field}[{i}]", item, kind[0])
    elif isinstance(kind, dict):
        inside = f"{field}." if field else ""
        for name in kind:
            if name not in value:
                raise Refused(f"{inside}{name}", "is missing")
        for name in value:
            if name not in kind:
                raise Refused(f"{inside}{name if isinstance(name, str) else shown(name)}", "is no field of this format")
        for name, inner in kind.items():
            _conform(f"{inside}{name}", value[name], inner)
