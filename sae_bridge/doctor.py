"""What ``expander doctor`` says of the GPU, the default model and the default text."""

from expander_theory.errors import MissingResource
from sae_bridge.resources import RESOURCES, find

Row = tuple[str, str, str]


def report() -> list[Row]:
    """Rows (what, found, status).

    Raises:
        ModuleNotFoundError: torch is not installed.
    """
    import torch

    rows: list[Row] = []
    for resource in RESOURCES.values():
        try:
            rows.append((f"default {resource.name}", str(find(resource)), "ok"))
        except MissingResource:
            rows.append((f"default {resource.name}", "missing", f"run: expander fetch {resource.name}"))
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows.append(("GPU", ", ".join(names) or "none that torch can use: the CPU is used", "ok"))
    return rows
