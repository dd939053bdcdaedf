"""A format that the fuzz harness damages: a sound file or folder, its changes, and its reader."""

from __future__ import annotations

import json
import shutil

from fuzz_mutations import damaged, reshaped, restructured, retyped

from expander_theory.results.files import read_arrays, write_arrays


class Format:
    """One file in a folder of its own.

    Attributes:
        written: what :meth:`read` returns of the sound file; None where a change may go unnoticed by right.
    """

    name = "file"
    guarded = True  # by a hash or checksums: what is damaged and not made to fit must be refused or be the same

    def __init__(self, folder):
        self.sound, self.place = folder / "sound", folder / "changed"
        self.sound.mkdir()
        self.make(self.sound / self.name)
        shutil.copytree(self.sound, self.place)
        self.path = self.place / self.name
        self.written = self.read()

    def agrees(self, found, expected):
        """Whether accepted content is what was written, as far as its hashes promise."""
        return found == expected

    def change(self, rng):
        """Change the file; returns what a reader may give if it accepts it (None: anything)."""
        shutil.rmtree(self.place)
        shutil.copytree(self.sound, self.place)
        self.path = self.place / self.name
        if rng.random() < 0.4:
            files = sorted(path for path in self.place.rglob("*") if path.is_file())
            path = files[int(rng.integers(len(files)))]
            path.write_bytes(damaged(path.read_bytes(), rng))
            return self.written if self.guarded else None
        return self.forge(rng)

    def forge(self, rng):
        """A change of the structure, with hashes made to fit where there are any; what a reader may give."""
        self.path.write_text(restructured(json.loads(self.path.read_text()), rng), errors="surrogatepass")
        return None


class Arrays(Format):
    """A file of :func:`write_arrays`."""

    kind, version = "", 1

    def forge(self, rng):
        if rng.random() < 0.2:
            self.path.write_bytes(retyped(self.path.read_bytes(), rng))
            return self.written
        fields, arrays = read_arrays(self.path, self.kind, self.version)
        if rng.random() < 0.5:
            arrays = reshaped(arrays, rng)
        else:
            try:
                fields = json.loads(restructured(fields, rng))
            except (ValueError, RecursionError):
                return self.written
            if not isinstance(fields, dict):
                return self.written
        try:
            write_arrays(self.path, self.kind, self.version, fields, arrays)
        except (ValueError, RecursionError):  # NaN: the writer has no such files
            return self.written
        return None
