"""What ``expander doctor`` says of the GPU, and of the models and the text that ``expander fetch`` brings."""

from expander_theory.base import MissingResource
from sae_bridge.models import OPTIONAL, RESOURCES, find

Row = tuple[str, str, str]


def report() -> list[Row]:
    """Rows (what, found, status).

    Raises:
        ModuleNotFoundError: torch is not installed.
    """
    import torch

    rows: list[Row] = []
    for resource in (*RESOURCES.values(), *OPTIONAL.values()):
        try:
            rows.append((resource.title, str(find(resource)), "ok"))
        except MissingResource:
            need = "optional" if resource.name in OPTIONAL else "run"
            rows.append((resource.title, "missing", f"{need}: expander fetch {resource.name}"))
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows.append(("GPU", ", ".join(names) or "none that torch can use: the CPU is used", "ok"))
    return rows
