import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from expander_theory import InvalidArgument
from sae_bridge.models.language_models import LanguageModel
from sae_bridge.suites import paper_runs, reported

RUNS = paper_runs()


@pytest.mark.parametrize("name", RUNS)
def test_the_full_size_model_is_the_papers(name):
    """Instantiated without memory: the published sizes follow from the configuration."""
    run = RUNS[name]
    with torch.device("meta"):
        model = LanguageModel(
            run.model, AutoModelForCausalLM.from_config(AutoConfig.for_model(**run.config)), tokenizer=None
        )
    sizes = {
        "pythia-70m": (70_426_624, 512, 6, 50_304),
        "pythia-160m": (162_322_944, 768, 12, 50_304),
        "qwen2.5-3b": (3_085_938_688, 2048, 36, 151_936),
        "llama-3.2-1b": (1_235_814_400, 2048, 16, 128_256),
    }[name]
    parameters = sum(parameter.numel() for parameter in model.model.parameters())
    assert (parameters, model.m, len(model.layers), model.vocabulary) == sizes
    assert (run.parameters, run.m) == sizes[:2]
    assert model.longest_context >= run.recipe.context
    for layer in run.layers:
        model.block(layer)
    with pytest.raises(InvalidArgument, match=f"layer = {sizes[2]}: must be between 0 and {sizes[2] - 1}"):
        model.block(sizes[2])


def test_decoder_sizes_by_hand():
    values = {name: [run.decoder_values(d) for d in (*run.degrees, None)] for name, run in RUNS.items()}
    assert values == {
        "pythia-70m": [28_672, 122_880, 204_800, 409_600, 819_200, 2_097_152],
        "pythia-160m": [61_440, 460_800, 1_843_200, 4_718_592],
        "qwen2.5-3b": [114_688, 491_520, 1_671_168, 33_554_432],
        "llama-3.2-1b": [114_688, 491_520, 1_671_168, 33_554_432],
    }
    qwen = RUNS["qwen2.5-3b"]
    assert round(qwen.decoder_values(None) / qwen.decoder_values(7), 1) == 292.6
    for d in (0, 2049):
        with pytest.raises(InvalidArgument, match=f"d = {d}: must be between 1 and m = 2048"):
            qwen.decoder_values(d)


def test_every_sae_of_the_paper_has_its_figure():
    for run in RUNS.values():
        assert tuple(run.reported) == run.layers
        assert run.n == 8 * run.m
        for layer in run.layers:
            figures = reported(run, layer)
            assert {"dense warm", *(f"d={d}" for d in run.degrees)} <= set(figures)
            assert all(0.5 < value < figures["dense warm"] for label, value in figures.items() if label[:2] == "d=")
            small = [float(v) for label, v in figures.items() if label.startswith("dense warm n=")]
            assert all(value < figures["dense warm"] for value in small)


def test_the_papers_headline_and_its_counterpoint():
    """84 % of the dense CE recovered with 293 times fewer values; a small dense SAE is ahead at equal size."""
    qwen = RUNS["qwen2.5-3b"]
    figures = reported(qwen, 12)
    assert round(figures["d=7"] / figures["dense warm"], 2) == 0.84
    assert qwen.m * 240 == qwen.decoder_values(30)
    assert figures["dense warm n=240"] > figures["d=30"]
    assert qwen.m * 816 == qwen.decoder_values(102)
    assert figures["dense warm n=816"] > figures["d=102"]


def test_figures_are_not_to_be_had_for_other_layers_nor_changed():
    run = RUNS["pythia-160m"]
    with pytest.raises(InvalidArgument, match="layer = 3: must be one of 4, 8 for pythia-160m"):
        reported(run, 3)
    with pytest.raises(TypeError):
        reported(run, 4)["d=10"] = 1.0
