"""Text input is tokenised as Hugging Face's tokenizer does."""

import calls
import hugging_face
import minilm
import pytest

TEXTS = [
    "Attention flows from token to token.",
    "Café naïve 🌍 北京 e\u0301",
    "",
    " ".join(f"word{number}" for number in range(150)),
]


def expected_ids(text: str, **arguments) -> list[int]:
    return hugging_face.tokenizer(minilm.model_folder())(text, **arguments)["input_ids"]


def text_request(model: str, texts: list[str], **fields):
    return calls.request(model, text={"texts": texts, **fields}, output={"tokens": True})


def test_ids_and_tokens_equal_hugging_face(server):
    reply = calls.attribute(server, text_request("minilm-sdpa", TEXTS))
    tokenizer = hugging_face.tokenizer(minilm.model_folder())
    assert len(expected_ids(TEXTS[3])) > 128
    for text, tokens in zip(TEXTS, reply.admitted.tokens, strict=True):
        assert list(tokens.input_ids) == expected_ids(text)
        assert list(tokens.tokens) == tokenizer.convert_ids_to_tokens(expected_ids(text))


def test_text_and_its_ids_give_the_same_numbers(server):
    from_text = calls.attribute(server, text_request("minilm-sdpa", TEXTS[:2])).result
    ids = [expected_ids(text) for text in TEXTS[:2]]
    from_ids = calls.attribute(server, calls.request("minilm-sdpa", ids)).result
    for name in calls.METRIC_FIELDS:
        assert getattr(from_text.metrics, name) == pytest.approx(getattr(from_ids.metrics, name), rel=1e-6), name


def test_tokens_are_named_for_ids_too(server):
    message = calls.request("minilm-sdpa", [[101, 7592, 102]], output={"tokens": True})
    assert list(calls.attribute(server, message).admitted.tokens[0].tokens) == ["[CLS]", "hello", "[SEP]"]


def test_truncate_cuts_to_the_length_of_the_model(server):
    text = "word " * 700
    reply = calls.attribute(server, text_request("minilm-sdpa", [text], truncate=True))
    tokenizer = hugging_face.tokenizer(minilm.model_folder())
    whole = expected_ids(text)
    ids = list(reply.admitted.tokens[0].input_ids)
    assert len(ids) == 512
    assert ids == [*whole[:511], tokenizer.sep_token_id]


def test_text_that_is_too_long_is_refused(server):
    found = calls.failed_attribute(server, text_request("minilm-sdpa", ["word " * 700]))
    assert found.code.name == "INVALID_ARGUMENT"
    assert "512" in found.message
