"""What a judge is shown and asked, what its answers mean, and judges on this machine."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.stores import MemoryStore, fake_sae

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge import judging
from sae_bridge.features import Look, gather
from sae_bridge.judging import Example, JudgeFailed, LocalJudge, Question, Shown, Sizes, judge_named, shown_features
from sae_bridge.judging.questions import answers_in, balanced_accuracy, explanation_in, explanation_question, questions

SIZES = Sizes(explain=8, test=8, at_once=4, window=16)
SPELLING = SimpleNamespace(text=lambda token: f" w{token}")
RARE, ALWAYS = 2, 3


class WindowedStore(MemoryStore):
    def context_rows(self, split, contexts):
        return self._hidden[split][contexts][self._kept[split][contexts]]


@pytest.fixture(scope="module")
def store():
    """Activations that are their own codes: features on a token or two of half the windows, in few, and everywhere."""
    rng = np.random.default_rng(0)
    hidden = np.zeros((60, 64, 12), np.float32)
    for context in range(60):
        for start in range(0, 64, 16):
            for feature in set(range(12)) - {RARE, ALWAYS}:
                if rng.random() < 0.5:
                    places = start + rng.choice(16, rng.integers(1, 4), replace=False)
                    hidden[context, places, feature] = rng.choice([-1, 1]) * rng.exponential(size=len(places))
    hidden[::8, 5, RARE] = 1
    hidden[:, :, ALWAYS] = 1
    kept = torch.ones(60, 64, dtype=torch.bool)
    kept[:, 0] = False
    ids = torch.arange(60 * 64).reshape(60, 64)
    both = dict.fromkeys(("train", "held_out"), torch.tensor(hidden))
    return WindowedStore(both, {"train": kept}, tokens={"train": ids})


@pytest.fixture(scope="module")
def sae():
    found = fake_sae(lambda h: (h, torch.arange(12).expand(len(h), 12)), None, 12, 12)
    found.device = torch.device("cpu")
    return found


@pytest.fixture(scope="module")
def shown(store, sae):
    return shown_features(sae, store, np.arange(12), SPELLING, SIZES)


def window_of(example):
    return int(example.tokens[0][2:]) // 16


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[1, 0, 1]", (1, 0, 1)),
        ("The answer, I think, is [0,0 , 1]. Text 2 fits best.", (0, 0, 1)),
        ("```python\n[\n1,\n1,\n0\n]\n```", (1, 1, 0)),
        ("Of texts [0, 2] I am sure; so [1, 0, 1]", (1, 0, 1)),
        ("[[1, 0, 1]]", (1, 0, 1)),
        ("[1.0, 0.0, 1]", (1, 0, 1)),
        ("[true, false, true]", (1, 0, 1)),
        *((wrong, None) for wrong in ("", "1, 0, 1", "[1, 0]", "[1, 0, 1, 0]", "[1,0,2]", "[-1,0,1]", "[1,0,0.5]")),
        *((wrong, None) for wrong in ("[]", '["1","0","1"]', "[1,0,NaN]", "[1,0,null]", "[1 0 1]", "[1,0,1")),
    ],
)
def test_answers_are_the_list_of_ones_and_zeros(answer, expected):
    found = answers_in(answer, 3)
    assert found == expected
    assert found is None or all(type(value) is int for value in found)


def test_truth_values_as_python_writes_them_are_read_as_json_ones_are():
    assert answers_in("[True, False, True]", 3) == answers_in("[true, false, true]", 3)


def test_of_several_lists_the_one_that_ends_the_answer_counts():
    assert answers_in("In the format of [1, 0, 0, 1, 0], my answer is [0, 1, 1, 0, 1]", 5) == (0, 1, 1, 0, 1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("They are animals.\n[EXPLANATION]: names of animals", "names of animals"),
        ("[EXPLANATION]:\n\n names of animals \nmore", "names of animals"),
        ("Let me see.\nnames of animals\n\n", "names of animals"),
        *((nothing, "(no explanation)") for nothing in ("", " \n ", "[EXPLANATION]:", "words\n[EXPLANATION]: \n")),
    ],
)
def test_the_explanation_follows_its_tag_or_is_the_last_line(answer, expected):
    assert explanation_in(answer) == expected


def test_of_several_tags_the_last_is_the_explanation():
    answer = "My last line must be: [EXPLANATION]: your phrase\nSo:\n[EXPLANATION]: names of animals"
    assert explanation_in(answer) == "names of animals"


def test_balanced_accuracy_by_its_definition():
    assert balanced_accuracy([1, 1, 1, 0], [1, 1, 0, 0]) == pytest.approx((2 / 3 + 1) / 2)
    assert balanced_accuracy([1, 0, 0, 0], [1, 1, 1, 1]) == balanced_accuracy([1, 0, 0, 0], [0, 0, 0, 0]) == 0.5
    assert balanced_accuracy([1, 0], [0, 1]) == 0
    assert balanced_accuracy([1, 1], [1, 1]) is balanced_accuracy([0, 0], [1, 1]) is balanced_accuracy([], []) is None


def test_scores_leave_out_what_could_not_be_read():
    def asked(test, right, said):
        return Question(test, 0, "", right), said

    some = [asked("detection", (1, 0), (1, 1)), asked("detection", (1, 0), None), asked("fuzzing", (1, 0), None)]
    assert judging.scores(some) == {"detection": 0.5, "fuzzing": None}
    assert judging.scores([asked("fuzzing", (1, 1), (1, 1))]) == {"detection": None, "fuzzing": None}


def test_adjacent_marked_tokens_share_a_pair_of_marks_and_text_is_one_line():
    example = Example(
        (" a", "b\n", " c", "\r", " d"), np.array([0.3, 1, 0, 0.29, 0.5], np.float32), np.ones(5, bool), True
    )
    assert example.marks().tolist() == [True, True, False, False, True]
    assert example.text() == " ab\\n c\\r d"
    assert example.text(example.marks()) == "<< ab\\n>> c\\r<< d>>"
    assert example.text(np.ones(5, bool)) == "<< ab\\n c\\r d>>"
    assert not Example(("a",), np.zeros(1, np.float32), np.ones(1, bool), False).marks().any()


def test_levels_are_tenths_of_the_largest_of_all_texts_rounded_up():
    strong = Example(("a", "b", 'c"'), np.array([8, 2.3, 2.41], np.float32), np.ones(3, bool), True)
    weak = Example(("d", "e"), np.array([0.01, 0], np.float32), np.ones(2, bool), True)
    user = explanation_question(Shown(3, (strong, weak), ()))
    assert user == (
        'Text 0: <<a>>b<<c">>\nActivations: ("a": 10), ("c\\"": 4)\n\nText 1: <<d>>e\nActivations: ("d": 1)'
    )


def test_windows_to_explain_and_to_test_are_disjoint_and_half_of_the_latter_active(shown, store):
    assert len(shown) == 10
    acts = store._hidden["train"].numpy().copy()
    acts[:, 0] = 0
    for one in shown:
        own = np.abs(acts[:, :, one.feature]).reshape(-1, 16)
        explain, test = ([window_of(e) for e in part] for part in (one.explain, one.test))
        assert len(set(explain + test)) == len(explain) + len(test) == 24
        assert [e.active for e in one.test].count(True) == 8
        assert all(e.active for e in one.explain)
        for window, example in zip(explain + test, one.explain + one.test, strict=True):
            assert example.active == bool(own[window].any())
            np.testing.assert_array_equal(example.acts, own[window])
        strongest = np.argsort(-own.max(axis=1), kind="stable")[:2]
        assert explain[:2] == strongest.tolist()


def test_the_order_of_test_texts_tells_nothing(shown):
    assert len({tuple(e.active for e in one.test) for one in shown}) > 5


def test_features_that_fire_in_too_few_places_or_always_are_left_out(shown, store, sae):
    assert [one.feature for one in shown] == sorted(set(range(12)) - {RARE, ALWAYS})
    assert shown_features(sae, store, np.array([RARE, ALWAYS]), SPELLING, SIZES) == []
    few = Sizes(explain=2, test=4, at_once=4, window=16)
    assert [one.feature for one in shown_features(sae, store, np.array([RARE]), SPELLING, few)] == [RARE]


def texts(one):
    return one.feature, [(e.text(), e.acts.tolist()) for e in one.explain + one.test]


def test_what_is_shown_of_a_feature_depends_on_no_other(shown, store, sae):
    backwards = shown_features(sae, store, np.arange(12)[::-1].copy(), SPELLING, SIZES)
    assert [*map(texts, backwards)] == [*map(texts, shown)]
    alone = shown_features(sae, store, np.array([7]), SPELLING, SIZES)
    assert texts(alone[0]) == texts(shown[[one.feature for one in shown].index(7)])
    other = shown_features(sae, store, np.array([7]), SPELLING, Sizes(explain=8, test=8, at_once=4, window=16, seed=1))
    assert texts(other[0]) != texts(alone[0])


def test_the_most_are_drawn_among_those_that_can_be_shown(shown, store, sae):
    known = {one.feature: texts(one) for one in shown}
    some = shown_features(sae, store, np.arange(12), SPELLING, SIZES, most=4)
    assert [one.feature for one in some] == sorted(one.feature for one in some)
    assert len(some) == 4
    assert all(texts(one) == known[one.feature] for one in some)
    assert [one.feature for one in some] != [0, 1, 4, 5]


def test_the_weakest_sampled_windows_have_their_turn_too(shown, store, sae):
    """Of 16 sampled windows 14 are shown; were it not by chance, the weakest would never be."""
    seen = gather(sae, store, np.arange(12), Look(window=16, top=2, quantiles=1, each=16, pool=16), progress=False)
    turns = []
    for one in shown:
        weakest = seen.windows[one.feature, 17]
        turns.append(weakest in [window_of(e) for e in one.explain + one.test])
    assert any(turns)


def fuzzed(shown, seed=0):
    """Texts of the fuzzing questions, without the numbers in front."""
    asked = [q for q in questions(shown, "x", SIZES.at_once, seed) if q.test == "fuzzing"]
    return [line.split(": ", 1)[1] for q in asked for line in q.user.split("\n\n")[1].split("\n")]


def marked_places(text, tokens):
    inside, places, rest = False, [], text
    for i, token in enumerate(tokens):
        while rest.startswith(("<<", ">>")):
            inside, rest = rest.startswith("<<"), rest[2:]
        assert rest.startswith(token)
        rest = rest[len(token) :]
        places += [i] * inside
    return places


def test_wrong_marks_are_as_many_as_right_ones_anew_for_each_text_and_always_the_same(shown):
    places = []
    for one in shown:
        usual = {int((e.acts >= 0.3 * e.acts.max()).sum()) for e in one.test if e.active}
        found = [marked_places(text, e.tokens) for text, e in zip(fuzzed(one), one.test, strict=True)]
        wrong = [p for p, e in zip(found, one.test, strict=True) if not e.active]
        assert {len(p) for p in wrong} <= usual
        able = [set(np.flatnonzero(e.kept)) for e in one.test if not e.active]
        assert all(set(p) <= own for p, own in zip(wrong, able, strict=True))
        assert all(p == np.flatnonzero(e.marks()).tolist() for p, e in zip(found, one.test, strict=True) if e.active)
        assert len({tuple(p) for p in wrong}) > 3
        assert fuzzed(one) == fuzzed(one) != fuzzed(one, seed=1)
        places += wrong
    assert {i for p in places for i in p} == set(range(16))


def test_a_short_text_has_no_more_marks_than_tokens():
    active = Example(tuple("abcd"), np.ones(4, np.float32), np.ones(4, bool), True)
    quiet = Example(tuple("xy"), np.zeros(2, np.float32), np.ones(2, bool), False)
    asked = questions(Shown(0, (active,), (active, quiet)), "letters", 2, 0)
    assert [q.user for q in asked] == [
        "Explanation of the feature: letters\n\nText 0: abcd\nText 1: xy",
        "Explanation of the feature: letters\n\nText 0: <<abcd>>\nText 1: <<xy>>",
    ]
    assert all(q.right == (1, 0) and q.feature == 0 for q in asked)


def test_prompts_of_a_folder_must_be_there_and_say_something(tmp_path):
    assert set(judging.read_prompts()) == {"explain", "detection", "fuzzing"}
    for name in ("explain", "detection"):
        (tmp_path / f"{name}.txt").write_text(f" say {name} \n")
    with pytest.raises(InvalidFile, match=r"fuzzing.txt: cannot be read"):
        judging.read_prompts(tmp_path)
    for content, expected in ((" x\n", nullcontext()), ("\n", pytest.raises(InvalidFile, match="is an empty prompt"))):
        (tmp_path / "fuzzing.txt").write_text(content)
        with expected:
            found = judging.read_prompts(tmp_path)
            assert found == {"explain": "say explain", "detection": "say detection", "fuzzing": "x"}


@pytest.mark.parametrize(
    "wrong", [{"explain": 0}, {"test": 0}, {"window": 0}, {"at_once": 0}, {"test": 3, "at_once": 5}, {"explain": 1.5}]
)
def test_sizes_that_do_not_fit_are_named(wrong):
    with pytest.raises(InvalidArgument, match=next(reversed(wrong))):
        Sizes(**wrong)


def test_a_local_judge_always_says_the_same_and_names_a_prompt_that_is_too_long(tiny_model_folder):
    judge = judge_named(str(tiny_model_folder))
    assert isinstance(judge, LocalJudge)
    said = judge.answer("the cat", "sat on a", 8)
    assert said == judge.answer("the cat", "sat on a", 8) != ""
    assert judge.count("the cat", "sat on a") == 5
    judge.answer("the cat", " ".join(["sat"] * 54), 8)
    with pytest.raises(
        JudgeFailed, match=r"a prompt of 57 tokens and \d+ of an answer are too many for .*, which has 64"
    ):
        judge.answer("the cat", " ".join(["sat"] * 55), 8)
    assert set(judge.identity) == {"judge", "model", "fingerprint"}


def test_a_chat_template_without_a_system_role_is_no_obstacle(tiny_model_folder):
    """As Gemma's and Mistral's."""
    judge = judge_named(str(tiny_model_folder))
    judge.model.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{{ m['content'] }} {% endfor %}"
    )
    assert judge.count("the cat", "sat") == 3


def test_judges_that_cannot_be_are_named():
    for wrong in ("http://", "https:///v1"):
        with pytest.raises(InvalidArgument, match="must be an http or https address"):
            judge_named(wrong, "m")
    with pytest.raises(InvalidArgument, match="judge_model"):
        judge_named("http://127.0.0.1:1")
    with pytest.raises(InvalidArgument, match="goes with an endpoint alone"):
        judge_named("default", "m")
