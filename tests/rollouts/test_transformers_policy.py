import pytest

from medvistagym_core.environment import Episode, EpisodeConfig, Limits
from medvistagym_core.rollouts import Policy, TransformersPolicy, rollout

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEMPLATE = """{%- for t in tools or [] %}[tool {{ t.function.name }}]{% endfor -%}
{%- for m in messages %}<|{{ m.role }}|>{% for b in m.content %}{{ '<image>' if b.type == 'image' else b.text }}{% endfor -%}
{%- for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|end|>{% endfor -%}
{%- if add_generation_prompt %}<|assistant|>{% endif -%}"""


def checkpoint(folder, template=TEMPLATE):
    """A LLaVA of a few thousand random weights that knows letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<pad>", "<|end|>", "<image>", "<|user|>", "<|assistant|>", "<|tool|>", "<|system|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*special, "<answer>", "</answer>", "<tool_call>", "</tool_call>", *letters]
    inner = Tokenizer(models.BPE({word: k for k, word in enumerate(words)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<|end|>", additional_special_tokens=special[2:]
    )
    tokenizer.add_tokens(["<answer>", "</answer>", "<tool_call>", "</tool_call>"])
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**small, num_hidden_layers=2, image_size=16, patch_size=8, projection_dim=16)
    text = transformers.LlamaConfig(
        **small, num_hidden_layers=1, vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, bos_token_id=None
    )
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_id=2)
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessorPil(size={"height": 16, "width": 16}, crop_size={"height": 16, "width": 16})
    processor = transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("tiny-llava"))


SETTINGS = EpisodeConfig(limits=Limits(max_turns=2), view_side=16)


def test_a_checkpoint_plays(folder, task, toolbox):
    policy = TransformersPolicy.load(folder, toolbox, temperature=1.0, max_new_tokens=12, batch=3)
    assert isinstance(policy, Policy)
    assert policy.name == folder.name
    assert policy.style == "tools"
    runs = [list(rollout(policy, task, toolbox, "test", range(4), SETTINGS)) for _ in range(2)]
    texts = [[[turn.text for turn in t.turns] for t in sorted(run, key=lambda t: t.index)] for run in runs]
    assert texts[0] == texts[1]
    assert all(t.outcome.ended in ("turns", "answered") for t in runs[0])
    assert not any("<|" in text or "<image>" in text or "<pad>" in text for turns in texts[0] for text in turns)
    assert runs[0][0].policy.sampling == {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 12, "seed": 0}
    other = TransformersPolicy.load(folder, toolbox, temperature=1.0, max_new_tokens=12, batch=3, seed=1)
    assert texts[0] != [
        [turn.text for turn in t.turns] for t in rollout(other, task, toolbox, "test", range(4), SETTINGS)
    ]


def test_a_turn_ends_where_the_protocol_ends_it(folder, task, toolbox, monkeypatch):
    policy = TransformersPolicy.load(folder, toolbox, temperature=0, max_new_tokens=40)
    tokenizer = policy._tokenizer
    wanted = tokenizer("<answer>fat</answer>and more<|end|>", add_special_tokens=False)["input_ids"]

    def forced(input_ids, scores):
        at = input_ids.shape[1] - start[0]
        scores[:] = -float("inf")
        scores[:, wanted[min(at, len(wanted) - 1)]] = 0
        return scores

    start = [0]
    generate = policy._model.generate

    def guided(**inputs):
        start[0] = inputs["input_ids"].shape[1]
        tokens = generate(**inputs, logits_processor=transformers.LogitsProcessorList([forced]))
        lengths.append(tokens.shape[1] - start[0])
        return tokens

    lengths = []
    monkeypatch.setattr(policy._model, "generate", guided)
    observation = Episode.from_task(task, "test", 0, toolbox, SETTINGS).observation()
    assert policy.act([observation]) == ["<answer>fat</answer>"]
    assert lengths == [wanted.index(tokenizer.convert_tokens_to_ids("</answer>")) + 1]


def test_the_prompt_has_the_tools_and_the_pictures(folder, task, toolbox, monkeypatch):
    policy = TransformersPolicy.load(folder, toolbox, temperature=0, max_new_tokens=1)
    seen = {}
    generate = policy._model.generate
    monkeypatch.setattr(policy._model, "generate", lambda **inputs: seen.update(inputs) or generate(**inputs))
    policy.act([Episode.from_task(task, "test", k, toolbox, SETTINGS).observation() for k in range(2)])
    prompt = policy._tokenizer.decode(seen["input_ids"][0])
    assert "[tool window]" in prompt
    assert "Which quadrant" in prompt
    assert seen["pixel_values"].shape == (2, 3, 16, 16)


def test_templates_without_tools_want_text(tmp_path, toolbox):
    folder = checkpoint(tmp_path / "plain", TEMPLATE.replace("tool_calls", "x").replace("tools", "y"))
    assert TransformersPolicy.load(folder, toolbox).style == "text"


def test_what_cannot_be_loaded_is_refused_with_a_sentence(folder, tmp_path, toolbox):
    with pytest.raises(ValueError, match=r"has no config\.json"):
        TransformersPolicy.load(tmp_path, toolbox)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="cannot be loaded as a vision-language model"):
        TransformersPolicy.load(tmp_path, toolbox)
    with pytest.raises(ValueError, match="top_p"):
        TransformersPolicy.load(folder, toolbox, top_p=0)
    with pytest.raises(ValueError, match="chat template"):
        TransformersPolicy(object(), object(), toolbox)
