"""Commands of the experiments on the decoders of trained SAEs."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.commands.on_saes import OnSAEs


@dataclass(frozen=True)
class Amortisation(OnSAEs):
    """Claim: part of the gap at matched count is encoder amortisation.

    The frontier's decoders (one seed): FVU, relative error, overlap of supports and CE recovered for the encoder,
    least squares on its support, matching pursuit and OMP. Some degrees, over k up to the setting's own: the errors
    of gOMP, NIHT and CoSaMP too, which take seconds a thousand tokens.
    """

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.saes import amortisation

        amortisation.run(self.suite)
        print(draw_named(self.out, "amortisation", "inference_algorithms"))


@dataclass(frozen=True)
class Recovery(OnSAEs):
    """Claim: empirical recovery against the sufficient conditions. Per dictionary and per support.

    Exact certificates of the decoders lie in `certificates`; `expander check-certificate` verifies them.
    """

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.saes import real_supports

        real_supports.run(self.suite)
        print(draw_named(self.out, "recovery_curves", "erc_calibration", "cumulative_coherence"))


@dataclass(frozen=True)
class Novelty(OnSAEs):
    """Which features of expander SAEs the dense SAE does not have. By Jaccard of firing sets and decoder cosine.

    Each with a null of random firing sets of the same size, and beside the same comparison between two dense SAEs
    of different seeds; entropy of the tokens that features fire on. Over d and over k.
    """

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.saes import novelty

        novelty.run(self.suite)
        print(draw_named(self.out, "feature_novelty"))


@dataclass(frozen=True)
class Finetune(OnSAEs):
    """Beyond the paper: does a short finetune on the model's output pay? End to end, at fixed storage.

    The SAE on learned supports by OMP, before, after more steps on reconstruction alone (the control), and with the KL
    divergence in the loss, its gradient through the codes or not: CE and FVU, paired, and features kept.
    """

    def run(self) -> None:
        from expander_theory.results import table
        from experiments.saes import finetune
        from sae_bridge.suites import finetune_row

        print(table([finetune_row(record) for record in finetune.run(self.suite)]))


@dataclass(frozen=True)
class Packed(OnSAEs):
    """Beyond the paper: the frontier over bytes of real files. Dense SAEs are packed in the same way.

    SAEs of the frontier and of its fair part, each packed with values in 16, 4 and 2 bits, and measured as it is read
    back: fidelity over the file's size, beside codes that have learned nothing.
    """

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.saes import packed

        packed.run(self.suite)
        print(draw_named(self.out, "packed_frontier"))


@dataclass(frozen=True)
class Structures(OnSAEs):
    """Beyond the paper: which structures do not pay beside learned supports? By OMP, one seed, at fixed storage.

    Coordinates with dense columns beside them, and a rotation first: a random one, or to principal directions. Against
    learned supports, and the same number of dense columns beside learned supports.
    """

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.saes import structures

        structures.run(self.suite)
        print(draw_named(self.out, "structures"))
