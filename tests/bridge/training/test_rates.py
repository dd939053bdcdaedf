import pytest
from support.stores import MemoryStore
from support.streams import MemoryStream

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.results.ledger import read_ledger
from sae_bridge.training import rates as module
from sae_bridge.training.rates import best_rates
from sae_bridge.training.recipe import Training

RECIPES = {"d4": Training(d=4, n=64, k=4, steps=30), "dense": Training(d=None, n=64, k=4, steps=30)}


@pytest.fixture
def store():
    data = MemoryStream(seed=0).data.reshape(-1, 16, 32)
    return MemoryStore({"train": data[:200], "held_out": data[200:]})


def sweep(store, folder, rates=(1e-4, 1e-3), recipes=RECIPES):
    return best_rates(recipes, rates, MemoryStream(), store, folder, progress=False)


def test_the_best_rate_is_the_least_fvu_and_the_grid_grows_where_it_is_at_an_end(store, tmp_path):
    found = sweep(store, tmp_path)
    _, records = read_ledger(tmp_path / "rates.jsonl")
    for name, rate in found.items():
        tried = {r.learning_rate: r.fvu for r in records if r.name == name}
        assert rate == min(tried, key=tried.get)
        assert max(tried) > 1e-3, "1e-3 is far too low for 30 steps, so higher rates were tried"
        assert rate < max(tried) or rate == 16e-3
    assert found["d4"] > 1e-3


def test_a_second_call_only_reads(store, tmp_path, monkeypatch):
    found = sweep(store, tmp_path)
    monkeypatch.setattr(module, "train", lambda *_, **__: pytest.fail("trained again"))
    assert sweep(store, tmp_path) == found


def test_an_interrupted_sweep_goes_on(store, tmp_path, monkeypatch):
    reference = sweep(store, tmp_path / "a")
    append = module.Ledger.append

    def stop(ledger, record):
        append(ledger, record)
        if len(ledger.records) == 3 and ledger.path.name == "rates.jsonl":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Ledger, "append", stop)
        with pytest.raises(KeyboardInterrupt):
            sweep(store, tmp_path / "b")
    assert sweep(store, tmp_path / "b") == reference
    records = [sorted(map(str, read_ledger(tmp_path / name / "rates.jsonl")[1])) for name in "ab"]
    assert records[0] == records[1]


def test_runs_that_diverge_lose(store, tmp_path, monkeypatch):
    """The batches of step 5 on are too loud for the higher rate only: its FVU explodes."""
    real = module.train

    def train(runs, *args, **options):
        good = {name: how for name, how in runs.items() if how.learning_rate <= 1e-3}
        if good:
            real(good, *args, **options)
        if len(good) < len(runs):
            raise module.Diverged("the others")
        return {}

    monkeypatch.setattr(module, "train", train)
    assert sweep(store, tmp_path / "a", rates=(5e-4, 1e-3, 2e-3)) == {"d4": 1e-3, "dense": 1e-3}
    _, records = read_ledger(tmp_path / "a" / "rates.jsonl")
    assert [r.fvu for r in records if r.learning_rate == 2e-3] == [None, None]
    with pytest.raises(InvalidArgument, match="all diverge for d4: add lower ones"):
        sweep(store, tmp_path / "b", rates=(2e-3, 4e-3))


def test_bad_input(store, tmp_path):
    for grid in ((), (2e-3, 1e-3)):
        with pytest.raises(InvalidArgument, match="must increase"):
            sweep(store, tmp_path, rates=grid)
    sweep(store, tmp_path, rates=(1e-3, 2e-3))
    with pytest.raises(InvalidFile, match=r"rates\[0\]|rates"):
        sweep(store, tmp_path, rates=(5e-4, 2e-3))
