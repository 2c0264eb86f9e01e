"""A vision-language model small enough for a test: real classes, random weights, saved as others save theirs."""

from pathlib import Path
from typing import Any

TEMPLATE = """{%- for t in tools or [] %}[tool {{ t.function.name }}]{% endfor -%}
{%- for m in messages %}<|{{ m.role }}|>{% for b in m.content %}{{ '<image>' if b.type == 'image' else b.text }}{% endfor -%}
{%- for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|end|>{% endfor -%}
{%- if add_generation_prompt %}<|assistant|>{% endif -%}"""


def checkpoint(folder: Path, template: str = TEMPLATE) -> Path:
    """A LLaVA of a few thousand random weights that knows letters."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<pad>", "<|end|>", "<image>", "<|user|>", "<|assistant|>", "<|tool|>", "<|system|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*special, "<answer>", "</answer>", "<tool_call>", "</tool_call>", *letters]
    inner = Tokenizer(models.BPE({word: k for k, word in enumerate(words)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    fast: Any = transformers.PreTrainedTokenizerFast
    tokenizer = fast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<|end|>", additional_special_tokens=special[2:]
    )
    tokenizer.add_tokens(["<answer>", "</answer>", "<tool_call>", "</tool_call>"])
    small: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**small, num_hidden_layers=2, image_size=16, patch_size=8, projection_dim=16)
    text = transformers.LlamaConfig(
        **small, num_hidden_layers=1, vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, bos_token_id=None
    )
    llava: Any = transformers.LlavaConfig
    config = llava(vision_config=vision, text_config=text, image_token_id=2)
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessorPil(size={"height": 16, "width": 16}, crop_size={"height": 16, "width": 16})
    joined: Any = transformers.LlavaProcessor
    processor = joined(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    )
    processor.save_pretrained(folder)
    return folder
