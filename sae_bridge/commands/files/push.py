"""``expander sae push``."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Push:
    """Put a trained SAE on the Hugging Face Hub, with a model card.

    Every command then takes it as hf:owner/repo. The token is that of `hf auth login`, or HF_TOKEN.
    """

    sae: tyro.conf.Positional[Path]
    """Folder written by `expander sae train`, or a file of `expander sae pack`."""
    repo: tyro.conf.Positional[str]
    """owner/name; made where it is not there."""
    path: str | None = None
    """A folder in the repository; default: its top."""
    evaluation: Path | None = None
    """File of `expander sae eval --out`, or of `expander sae pack --table`: the card gives it beside the nulls."""
    private: bool = False
    """A new repository is private."""
    license: str | None = None
    """As the Hub names it, for the card; by default it says nothing."""
    endpoint: str | None = None
    """Another server than HF_ENDPOINT's."""
    dry_run: bool = False
    """Only print the card and the files."""
    card: Path | None = None
    """Also write the card to this file."""
    force: bool = False
    """Overwrite that file."""

    def run(self) -> None:
        from expander_theory.base import require
        from expander_theory.results import atomic_write, require_new
        from sae_bridge.hub import Card, RepositoryName, is_repository_name, read_evaluation, upload
        from sae_bridge.packing import read_packed
        from sae_bridge.sae import CONFIGURATION, WEIGHTS, load_sae

        require(not is_repository_name(self.sae), "sae", self.sae, "must lie on this machine")
        if self.card is not None:
            require_new(self.card, self.force)
        inside = f":{self.path}" if self.path else ""
        name = RepositoryName.parsed(f"hf:{self.repo}{inside}")
        sae, fields = load_sae(self.sae)
        about = sae.stored()[0]
        packed = self.sae.is_file()
        files = [self.sae] if packed else [self.sae / CONFIGURATION, self.sae / WEIGHTS]
        values = read_packed(self.sae).packing.values if packed else None
        where = f"{name.path}/" if name.path else ""
        card = Card(
            load=f"hf:{self.repo}:{where}{self.sae.name}" if packed else str(name),
            about=about,
            training=fields,
            files={file.name: file.stat().st_size for file in files},
            values=values,
            evaluation=None
            if self.evaluation is None
            else read_evaluation(self.evaluation, str(self.sae), about, values),
            licence=self.license,
        )
        text = card.text()
        if self.card is not None:
            atomic_write(self.card, text.encode())
        content: dict[str, Path | bytes] = {f"{where}{file.name}": file for file in files}
        content[f"{where}README.md"] = text.encode()
        if self.dry_run:
            print(text)
            for path, source in content.items():
                size = len(source) if isinstance(source, bytes) else source.stat().st_size
                print(f"{path}: {size:,} bytes")
            return
        message = f"Upload {self.sae.name} with expander-theory"
        url = upload(content, self.repo, private=self.private, endpoint=self.endpoint, message=message)
        print(f"{url}: {len(content)} files; load it as {card.load}")
