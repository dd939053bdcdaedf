"""Damage to files: bytes, structure, and forgeries whose hashes are right again. All from one seed."""

import json
import struct

import numpy as np

LONG = 4300 * "9"
STRANGE = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, "", "x", "1", [], [[]], {}, {"a": 1},
    "../../../etc/passwd", "\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"), "é" * 50,
)  # fmt: skip
"""Values that stand where others are expected."""
RAW = ("NaN", "Infinity", "-Infinity", "1e999", LONG, '"\\ud800"', "[" * 5000 + "]" * 5000, "1.0e400", "truE", "'x'")
"""The same as text of JSON that Python writes only on request, or not at all."""


def damaged(data, rng):
    """Bytes flipped, cut, doubled or inserted."""
    data = bytearray(data)
    kind = rng.integers(6)
    at = int(rng.integers(max(1, len(data))))
    if kind == 0 and data:
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + int(rng.integers(1, 40))]
    elif kind == 3:
        data[at:at] = rng.bytes(int(rng.integers(1, 12)))
    elif kind == 4:
        data[at:at] = data[at : at + int(rng.integers(1, 200))]
    elif data:
        data[at] = int(rng.integers(256))
    return bytes(data)


def _places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from _places(value[i], (*path, i))


def restructured(value, rng):
    """A JSON value with one place changed: another value, a missing, renamed or doubled key. As text."""
    value = json.loads(json.dumps(value))
    places = [path for path in _places(value) if path]
    if not places:
        return json.dumps(STRANGE[int(rng.integers(len(STRANGE)))])
    path = places[int(rng.integers(len(places)))]
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    kind, last = rng.integers(6), path[-1]
    if kind == 0:
        del inner[last]
    elif kind == 1 and isinstance(last, str):
        inner[flipped(last, rng)] = inner.pop(last)
    elif kind == 2:
        mark = "@@fuzz@@"
        inner[last] = mark
        return json.dumps(value).replace(f'"{mark}"', RAW[int(rng.integers(len(RAW)))])
    elif kind == 3 and isinstance(inner[last], int | float) and not isinstance(inner[last], bool):
        number = inner[last]
        others = [number + 1, -number, number * 10**12, float(number), str(number), number / 3]
        inner[last] = others[int(rng.integers(6))]
    elif kind == 4 and isinstance(inner[last], list) and inner[last]:
        inner[last] = inner[last][: int(rng.integers(len(inner[last])))]
    else:
        inner[last] = STRANGE[int(rng.integers(len(STRANGE)))]
    return json.dumps(value)


def flipped(text, rng):
    """A key with one bit of one letter flipped."""
    letters = list(text) or ["x"]
    at = int(rng.integers(len(letters)))
    letters[at] = chr(ord(letters[at]) ^ (1 << int(rng.integers(5))))
    return "".join(letters)


def reshaped(arrays, rng):
    """Named arrays with one of them changed: values, shape, type, or gone."""
    arrays = {name: np.array(value) for name, value in arrays.items()}
    name = sorted(arrays)[int(rng.integers(len(arrays)))]
    value, kind = arrays[name], rng.integers(8)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name] = value[..., :-1] if value.ndim else value[None]
    elif kind == 2:
        arrays[name] = value.ravel()
    elif kind == 3:
        types = [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64, np.bool_, np.uint64]
        with np.errstate(all="ignore"):
            arrays[name] = value.astype(types[int(rng.integers(len(types)))])
    elif kind == 4 and value.size:
        flat = value.reshape(-1).copy()
        big = [-1, 10**6, 127] if value.dtype.kind in "iu" else [np.nan, np.inf, -1.0, 1e30, 0.0]
        with np.errstate(all="ignore"):
            flat[int(rng.integers(flat.size))] = np.array(big[int(rng.integers(len(big)))]).astype(value.dtype)
        arrays[name] = flat.reshape(value.shape)
    elif kind == 5:
        arrays[flipped(name, rng)] = arrays.pop(name)
    elif kind == 6:
        arrays[name] = np.zeros((0, *value.shape[1:]), value.dtype) if value.ndim else value
    else:
        arrays["extra"] = np.zeros(3, np.float32)
    return arrays


def retyped(data, rng):
    """A safetensors file whose header names another type, shape or place for a tensor; its hash is what it was."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    entry = header[names[int(rng.integers(len(names)))]]
    kind = rng.integers(3)
    if kind == 0:
        types = ["BF16", "F8_E4M3", "F8_E5M2", "F4", "I64", "U8", "F16", "BOOL", "C64", "X"]
        entry["dtype"] = types[int(rng.integers(len(types)))]
    elif kind == 1:
        entry["shape"] = [[10**9], [-1], [2**62, 2**62], "x", []][int(rng.integers(5))]
    else:
        entry["data_offsets"] = [[0, 10**12], [-1, 4], [4, 0], [0]][int(rng.integers(4))]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]
