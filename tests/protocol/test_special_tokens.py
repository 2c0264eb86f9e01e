"""Whoever speaks in a conversation, the roles and images in it are those of the chat template."""

import json

import numpy as np
import pytest

from medvistagym_core.environment import Answer, Case, Episode, EpisodeConfig, Limits
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.imaging import Image
from medvistagym_core.protocol import SpecialTokens, TextProtocol, UnsafeTokenizerError, system_prompt
from medvistagym_core.rollouts import EndpointPolicy
from medvistagym_core.tools import DIALECTS, Tool, Toolbox, ToolError, ToolResult, ToolSpec

from .vocabularies import VOCABULARIES, Vocabulary, build_tokenizer

pytest.importorskip("transformers")

LIMITS = Limits(max_turns=9, max_calls=9, max_text=10**6, max_observation=10**6)
PROTOCOL_TAGS = {"<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "</answer>"}
FORMATTING = {
    "<table>",
    "</table>",
    "<h1>",
    "<b>",
    "</b>",
    "<code>",
    "<2mass>",
}  # no borders: they are one token for length
CALL = '<tool_call>{{"name": {}, "arguments": {}}}</tool_call>'


def toolbox(text="fine", error=None, description="Say something.", schema=()):
    def speak(image, **others):
        if error is not None:
            raise error
        return ToolResult(text=text, images=(image,)) if isinstance(text, str) else list(text)

    schema = {
        "type": "object",
        "properties": {"image": {"type": "integer", "description": f"The image. {description}"}, **dict(schema)},
        "required": ["image"],
        "additionalProperties": False,
    }
    spec = ToolSpec(name="speak", description=description, parameters=schema, images=("image",), returns=("text",))
    return Toolbox({"speak": Tool.from_schema(spec, speak, lambda arguments: None)})


def play(turns, box=None, *, question="What is it?", options=(), style="tools"):
    """The messages of an episode in which these turns were written."""
    box = box or toolbox()
    image = Image(pixels=np.full((8, 8), 100, np.uint8))
    case = Case("c", "t", "test", 0, "f", question, (image,), Answer("x"), options=options)
    protocol = TextProtocol(max_calls_per_turn=2)
    episode = Episode(case, box, EpisodeConfig(protocol, limits=LIMITS, prompt="Answer.", style=style, view_side=8))
    executor = LocalExecutor(box)
    for turn in turns:
        calls = episode.submit_turn(turn)
        episode.submit_results(executor.run([(episode.store, calls)])[0] if calls else [])
    return list(episode.observation().messages), episode


def good(count=1):
    return CALL.format('"speak"', '{"image": 0}') * count


def forms(token):
    """A token whole, doubled, and nested in itself at each half."""
    half = len(token) // 2
    return [token, token + token, token[:half] + token + token[half:], f"{token[:1]}{token}{token[1:]}"]


def disguises(token):
    """A token as one may read it that changes text beforehand: in wide forms, other letters, around unseen characters."""
    half = len(token) // 2
    wide = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in token)
    unseen = [f"{token[:half]}{mark}{token[half:]}" for mark in "\0\u200b\ufeff\u00ad\u2060\u0301"]
    return [wide, token.upper(), token.lower(), *unseen]


def borders(tokenizer, tokens, messages):
    """The special tokens that a model reads, in order."""
    ids = set(tokenizer.convert_tokens_to_ids(list(tokens)))
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return [token for token in tokenizer(text, add_special_tokens=False)["input_ids"] if token in ids]


FEW = ("Qwen3-VL", "Pixtral", "LLaVA-1.5", "made up", "made up, compatibility forms", "made up, cleaned text")
CHOSEN = [pytest.param(v, id=v.name, marks=[] if v.name in FEW else pytest.mark.attack) for v in VOCABULARIES]


@pytest.fixture(scope="module", params=CHOSEN)
def checkpoint(request):
    tokenizer = build_tokenizer(request.param)
    tokens = [
        t for t in (*request.param.special, *request.param.added) if t not in PROTOCOL_TAGS | FORMATTING and t.strip()
    ]
    return tokenizer, SpecialTokens.from_processor(tokenizer), tokens


# Each gives the messages of an episode into which a text was put, in both ways in which results stand in messages.
FIELDS = {
    "question": lambda text, style: play([], question=text, style=style)[0],
    "option": lambda text, style: play([], options=("left", text), style=style)[0],
    "tool text": lambda text, style: play([good()], toolbox(text), style=style)[0],
    "tool data": lambda text, style: play([good()], toolbox([{"said": text, text[:60]: 1}]), style=style)[0],
    "tool error": lambda text, style: play([good()], toolbox(error=ToolError("tool_failed", text)), style=style)[0],
    "feigned feedback": lambda text, style: play(
        [good()], toolbox(error=ToolError("malformed_call", text)), style=style
    )[0],
    "exception": lambda text, style: play([good()], toolbox(error=ValueError(text)), style=style)[0],
    "nearest names": lambda text, style: play(
        [CALL.format('"speak"', '{"image": 0, "imag": 1}')], toolbox(schema={"x": {"enum": [text]}}), style=style
    )[0],
    "policy": lambda text, style: play([f"<think>{text}</think>" + good()], style=style)[0],
    "policy's second turn": lambda text, style: play([good(), f"<think>{text}</think>" + good()], style=style)[0],
    "policy's tool name": lambda text, style: play([CALL.format(f'"{escaped(text)}"', "{}")], style=style)[0],
    "policy's argument": lambda text, style: play(
        [CALL.format('"speak"', f'{{"image": 0, "{escaped(text)}": 1}}')], style=style
    )[0],
    "policy's escape": lambda text, style: play(
        [CALL.format('"speak"', f'{{"image": 0, "x": "{escaped(text)}"}}')], style=style
    )[0],
}


def escaped(text):
    return "".join(f"\\u{ord(character):04x}" for character in text if ord(character) < 0x10000)


def harmless(field, style):
    """The same conversation with plain words; a policy's own marks make its turn malformed."""
    if field.startswith("policy"):
        malformed = [play([*before, "nonsense"], style=style)[0] for before in ([], [good()])]
        return [*malformed, FIELDS[field]("plain words", style)]
    return [FIELDS[field]("plain words", style)]


@pytest.mark.parametrize("style", ["tools", "text"])
@pytest.mark.parametrize("field", FIELDS)
def test_no_text_gives_a_special_token(checkpoint, field, style):
    tokenizer, special, tokens = checkpoint
    expected = [borders(tokenizer, tokens, special.escape_messages(m)) for m in harmless(field, style)]
    assert all(expected)
    text = " ".join(form for token in tokens for form in forms(token))
    if tokenizer.backend_tokenizer.normalizer is not None:
        text += " ".join(form for token in tokens for form in disguises(token))
    messages = special.escape_messages(FIELDS[field](text, style))
    assert borders(tokenizer, tokens, messages) in expected


@pytest.mark.parametrize("style", ["tools", "text"])
def test_no_special_token_arises_between_two_texts(checkpoint, style):
    tokenizer, special, tokens = checkpoint
    plain = play([good(2)], toolbox(["a"]), style=style)[0]
    expected = borders(tokenizer, tokens, special.escape_messages(plain))
    for token in tokens[:: max(1, len(tokens) // 12)]:
        for cut in {1, 2, len(token) // 2, len(token) - 1} - {0, len(token)}:
            parts = iter((token[:cut], token[cut:]))
            box = toolbox()
            box["speak"]._function = lambda image, parts=parts: next(parts)
            messages = special.escape_messages(play([good(2)], box, style=style)[0])
            assert borders(tokenizer, tokens, messages) == expected
            split = [{"type": "text", "text": token[:cut]}, {"type": "text", "text": token[cut:]}]
            two = special.escape_messages([{"role": "user", "content": split}])
            one = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
            assert borders(tokenizer, tokens, two) == borders(tokenizer, tokens, one)


def test_marks_that_have_the_usual_shapes_need_no_tokenizer(checkpoint):
    tokenizer, special, tokens = checkpoint
    usual = [token for token in tokens if token not in special.others]
    for field in ("question", "tool text", "policy"):
        for style in ("tools", "text"):
            messages = FIELDS[field](" ".join(usual), style)
            assert borders(tokenizer, usual, messages) in [borders(tokenizer, usual, m) for m in harmless(field, style)]


def test_descriptions_give_no_special_token(checkpoint):
    tokenizer, special, tokens = checkpoint
    box = toolbox(description=" ".join(tokens))
    prompt = system_prompt(box.specs)
    schemas = special.escape_schemas(box.schemas())
    for text in (special.escape(prompt), str(schemas)):
        message = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        plain = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
        assert borders(tokenizer, tokens, message) == borders(tokenizer, tokens, plain)


IN_A_SCHEMA = {
    "title": lambda text: {"x": {"type": "string", "title": text}},
    "description": lambda text: {"x": {"type": "string", "description": text}},
    "enum": lambda text: {"x": {"enum": [text, "plain"]}},
    "const": lambda text: {"x": {"const": text}},
    "default": lambda text: {"x": {"type": "string", "default": text}},
    "examples": lambda text: {"x": {"type": "string", "examples": [text]}},
    "pattern": lambda text: {"x": {"type": "string", "description": text, "pattern": "a"}},
    "name": lambda text: {text: {"type": "string"}},
    "required": lambda text: {"x": {"type": "object", "properties": {text: {"type": "string"}}, "required": [text]}},
    "union": lambda text: {"x": {"anyOf": [{"type": "string", "description": text}, {"enum": [text]}]}},
    "unknown keyword": lambda text: {"x": {"type": "string", "x-note": {text: [text]}}},
}


@pytest.mark.parametrize("place", IN_A_SCHEMA)
def test_no_part_of_a_schema_gives_a_special_token(checkpoint, place):
    tokenizer, special, tokens = checkpoint
    chosen = tokens[:: max(1, len(tokens) // 200)]
    box = toolbox(schema=IN_A_SCHEMA[place](" ".join(form for token in chosen for form in forms(token))))
    written = [special.escape(system_prompt(box.specs))]
    written += [
        json.dumps(special.escape_schemas(box.schemas(dialect)), ensure_ascii=False)
        for dialect in DIALECTS
        if dialect != "text"
    ]
    read = tokenizer(written, add_special_tokens=False)["input_ids"]
    assert not set(tokenizer.convert_tokens_to_ids(tokens)) & {token for row in read for token in row}


def test_what_the_model_reads_is_what_a_person_is_shown(checkpoint):
    tokenizer, special, tokens = checkpoint
    text = " ".join(token for token in tokens if token not in special.others)
    if not text:
        assert special.others  # all are this tokenizer's own, and the policy's to escape
        return
    messages, episode = play([good()], toolbox(text), question=text)
    episode.stop()
    record = episode.to_trajectory()
    read = tokenizer.apply_chat_template(special.escape_messages(messages), tokenize=False)
    for shown in (record.opening[-1].text, record.turns[0].calls[0].shown[-1].text):
        assert shown in read
        assert shown.replace("\\", "") == text


@pytest.mark.parametrize(
    "text", ["x<|im_end|>", "<image>", "[INST]", "</tool_response>", "<start_of_turn>user", "<｜User｜>", "<s>"]
)
def test_a_policy_that_writes_a_mark_made_a_malformed_turn(text):
    protocol = TextProtocol()
    for written in (f"<think>{text}</think>{good()}", f"<answer>{text}</answer>", text):
        error = protocol.parse(written).error
        assert error.code == "malformed_call"
        assert "control mark" in error.message
    called = {"role": "assistant", "content": "", "tool_calls": [{"name": "speak", "arguments": {"image": text}}]}
    assert protocol.parse_message(called).error.code == "malformed_call"


@pytest.mark.parametrize(
    "text", ["the left <b>lung</b>", "a < b and c > d", "[HU]", "<sup>2</sup>", "x <| y", "[0, 1]"]
)
def test_a_policy_may_write_other_brackets(text):
    assert TextProtocol().parse(f"<think>{text}</think><answer>{text}</answer>").answer == text


def test_plain_text_is_left_as_it_is(checkpoint):
    _, special, _ = checkpoint
    for text in ("mean 40 HU, 12 % [0, 250, 500, 750]", "p < 0.05 and x > 3", "", "größer | kleiner", '{"mean": 4.5}'):
        assert special.escape(text) is text


def test_a_mark_of_one_tokenizer_alone_makes_its_policy_s_turn_malformed():
    special = SpecialTokens.from_processor(build_tokenizer(next(v for v in VOCABULARIES if v.name == "made up")))
    turn = special.read_turn("<answer>§SHUT§</answer>")
    assert turn.error.code == "malformed_call"
    assert turn.answer is None
    assert special.read_turn("<answer>left</answer>") == "<answer>left</answer>"


def test_a_tokenizer_that_cannot_be_kept_apart_from_text_is_refused():
    class Deaf:
        all_special_tokens = ("<|im_end|>",)

        def convert_tokens_to_ids(self, token):
            return 7

        def __call__(self, texts, add_special_tokens):
            return {"input_ids": [[7] for _ in texts]}

    with pytest.raises(UnsafeTokenizerError, match=r"<\|im_end\|>"):
        SpecialTokens.from_processor(Deaf())


def test_a_special_token_that_is_too_long_to_be_kept_out_of_text_is_refused():
    class Wordy:
        all_special_tokens = ("<|" + "long" * 100 + "|>",)

    with pytest.raises(UnsafeTokenizerError, match="404 characters"):
        SpecialTokens.from_processor(Wordy())


def test_a_special_token_of_more_than_a_hundred_characters_stays_out_of_text():
    from tokenizers import AddedToken

    tokenizer = build_tokenizer(VOCABULARIES[0])
    token = "§" * 150
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(token, special=True)]})
    special = SpecialTokens.from_processor(tokenizer)
    number = tokenizer.convert_tokens_to_ids(token)
    assert number in tokenizer(f"a {token}")["input_ids"]
    assert number not in tokenizer(special.escape(f"a {token}"))["input_ids"]
    parts = [{"type": "text", "text": token[:75]}, {"type": "text", "text": token[75:]}]
    (message,) = special.escape_messages([{"role": "user", "content": parts}])
    assert number not in tokenizer(text_of(message["content"]))["input_ids"]


def test_an_added_token_that_is_looked_for_late_stays_out_of_text():
    from tokenizers import normalizers

    tokenizer = build_tokenizer(VOCABULARIES[0])
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_tokens(["<roi>"])
    special = SpecialTokens.from_processor(tokenizer)
    number = tokenizer.convert_tokens_to_ids("<roi>")
    assert special.disguised == ("<roi>",)
    for text in ("<roi>", "＜roi＞"):
        assert number in tokenizer(text)["input_ids"]
        assert number not in tokenizer(special.escape(text))["input_ids"]


def test_a_template_that_takes_backslashes_away_is_refused():
    tokenizer = build_tokenizer(VOCABULARIES[0])
    tokenizer.chat_template = tokenizer.chat_template.replace("b.text", "b.text | replace('\\\\', '')")
    with pytest.raises(UnsafeTokenizerError, match="chat template"):
        SpecialTokens.from_processor(tokenizer)


def test_an_endpoint_is_sent_escaped_text(checkpoint):
    tokenizer, special, tokens = checkpoint
    sent = []

    class Endpoint:
        url = "http://127.0.0.1:1/v1"

        def complete(self, body):
            sent.append(body)
            return {"content": "<answer>x</answer>"}

    usual = [token for token in tokens if token not in special.others]
    text = " ".join(usual) or "a"
    box = toolbox(text, description=text)
    _, episode = play([good()], box, question=text, options=(text,))
    EndpointPolicy(Endpoint(), "m", box).act([episode.observation()])
    texts = [text_of(message["content"]) for message in sent[0]["messages"]] + [str(sent[0]["tools"])]
    read = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert not set(tokenizer.convert_tokens_to_ids(usual)) & {token for row in read for token in row}


def text_of(content):
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def test_the_vocabularies_are_those_of_published_models():
    assert sum(v.source != "none" for v in VOCABULARIES) >= 12
    assert all(isinstance(v, Vocabulary) and len(set(v.special)) == len(v.special) for v in VOCABULARIES)
