"""The experiments on SAEs at a scale of seconds."""

from sae_bridge.activations import Harvest
from sae_bridge.suites import Setting, TruthScale
from sae_bridge.suites.presets import EqualInference, FeatureSizes
from sae_bridge.synthetic import Planted
from sae_bridge.training.recipe import Training


def tiny_setting(text_folder, model, seeds=(0, 1)):
    """Of a model of width 32."""
    return Setting(
        name="quick",
        model=str(model),
        text=(str(text_folder),),
        harvest=Harvest(layer=1, context=16, train_contexts=60, held_out_contexts=10),
        degrees=(None, 8, 4),
        recipe=Training(n=64, k=4, steps=12, dead_after=500),
        batch=128,
        rates=(8e-3, 32e-3),
        rate_steps=6,
        seeds=seeds,
        d=4,
        ks=(2, 4, 8),
        sparsity_degrees=(None, 4),
        supports=12,
        planted_ks=(1, 2, 6),
        planted_trials=8,
        equal_inference=EqualInference((4,), (4,), ((2, 3),), (4,), (), (8,), seeds=(0,)),
        features=FeatureSizes(contexts=40, least=2, texts="", large=False),
    )


TINY_TRUTH = TruthScale(
    *(Planted(m=12, n=24, l0=2.0), 3, 2, 12, 64, (0, 1), 300, 10, ("topk", "omp"), ()),
    conditions=("dense", "expander", "block", "hierarchy"),
)
"""Known features at a scale of seconds."""
