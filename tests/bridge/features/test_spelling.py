"""Tokens of every kind of tokenizer as text that shows what they are."""

import re

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sae_bridge.features import Spelling, marked, visible

TEXT = "the cat — naïve\n\tcafé 日本 🙂 the cat\n"


@pytest.fixture(scope="module")
def byte_level():
    """A byte-level BPE with all 256 bytes, a special token, and added tokens that are none."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    fast.add_tokens([AddedToken("   "), AddedToken("<tool>")])
    return fast


@pytest.fixture(scope="module")
def sentencepiece():
    """Pieces with U+2581 and byte fallback, as Llama's."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁the", "▁", "cat", "▁▁", "é"]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def byte_token(tokenizer, byte):
    """The id of one byte."""
    stands = dict(zip(pre_tokenizers.ByteLevel.alphabet(), range(256), strict=True))
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    char = chr(byte) if byte in letters else chr(256 + [b for b in range(256) if b not in letters].index(byte))
    assert char in stands
    return tokenizer.convert_tokens_to_ids(char)


def test_every_byte_of_a_byte_level_vocabulary(byte_level):
    spelling = Spelling(byte_level)
    for byte in range(256):
        expected = chr(byte) if byte < 128 else f"\\x{byte:02X}"
        assert spelling.text(byte_token(byte_level, byte)) == expected


def test_whole_words_keep_their_spaces(byte_level):
    spelling, ids = Spelling(byte_level), byte_level(TEXT)["input_ids"]
    texts = [spelling.text(i) for i in ids]
    assert " cat" in texts
    assert any("\\x" in text for text in texts)  # the emoji is torn
    raw = re.sub(rb"\\x([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), "".join(texts).encode())
    assert raw.decode() == TEXT


def test_a_token_of_a_whole_and_a_torn_character():
    """Bytes of "a" and the first two of the em dash."""
    tokenizer = Tokenizer(models.BPE({"aâĢ": 0, "ĠâĢĶ": 1, "Ċ": 2, "âĢĶâ": 3, "Ķa": 4}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    spelling = Spelling(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    texts = [spelling.text(i) for i in range(5)]
    assert texts == ["a\\xE2\\x80", " —", "\n", "—\\xE2", "\\x94a"]


def test_special_and_added_tokens_are_themselves(byte_level):
    spelling = Spelling(byte_level)
    for text in ("<|endoftext|>", "   ", "<tool>"):
        assert spelling.text(byte_level.convert_tokens_to_ids(text)) == text


def test_an_unknown_id_is_said(byte_level, sentencepiece):
    assert Spelling(byte_level).text(99_999) == "<id 99999>"
    assert Spelling(sentencepiece).text(99_999) == "<id 99999>"


def test_pieces_and_byte_fallback(sentencepiece):
    spelling = Spelling(sentencepiece)

    def of(piece):
        return spelling.text(sentencepiece.convert_tokens_to_ids(piece))

    assert [of("▁the"), of("▁"), of("cat"), of("▁▁"), of("é")] == [" the", " ", "cat", "  ", "é"]
    assert [of("<0x0A>"), of("<0x41>"), of("<0xE2>"), of("<0x09>")] == ["\n", "A", "\\xE2", "\t"]
    assert [of("<s>"), of("<unk>")] == ["<s>", "<unk>"]


def test_words_of_a_plain_vocabulary(tiny_store):
    spelling = Spelling(tiny_store[0].tokenizer)
    assert spelling.text(0) == "<unk>"
    assert spelling.text(tiny_store[0].tokenizer.convert_tokens_to_ids("cat")) == "cat"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a b ", " a b "),
        ("a\n\r\tb", "a↵␍⇥b"),
        ("\x00\x1b[31m\x7f", "\\x00\\x1B[31m\\x7F"),
        ("\u200b\u200d\ufeff", "\\u200B\\u200D\\uFEFF"),
        ("\u202eabc\u2066", "\\u202Eabc\\u2066"),
        ("\xa0\xad\u2028\u3000", "\\xA0\\xAD\\u2028\\u3000"),
        ("\U000e0041", "\\U000E0041"),
        ("🙂é日", "🙂é日"),
        ("<b>&\"'", "<b>&\"'"),
    ],
)
def test_nothing_is_invisible_but_spaces(text, shown):
    assert visible(text) == shown
    assert marked(text) == shown.replace(" ", "␣")


def test_blank_characters_that_count_as_printable():
    """Variation selectors, the grapheme joiner, Hangul fillers, the empty braille pattern: nobody sees them."""
    assert visible("a\ufe0f\u034f\u115f\u3164\u2800b") == "a\\uFE0F\\u034F\\u115F\\u3164\\u2800b"
