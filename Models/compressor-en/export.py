"""The shipped folder: config.json, tokenizer.json, tokenizer_config.json and an int8 model.safetensors.

Every linear `X.weight` is int8 [out, in] with `X.weight_scale` float32 [out]; the word and position tables are int8 with
one scale a row; value = int8 * scale. The classifier, biases, LayerNorms and the token type table stay float32."""

import json
import os

import torch
from safetensors.torch import load_file, save_file

from model import Compressor, Config, quantise_rows

WHOLE = ("classifier.weight", "LayerNorm.weight", "token_type_embeddings.weight")


def write(state, config, tokenizer, folder, lowercase):
    os.makedirs(folder, exist_ok=True)
    out = {}
    for name, value in state.items():
        value = value.detach().float().contiguous()
        if name.endswith(".weight") and not name.endswith(WHOLE):
            out[name], out[name + "_scale"] = quantise_rows(value)
        else:
            out[name] = value
    save_file(out, os.path.join(folder, "model.safetensors"), metadata={"format": "pt", "quantisation": "int8 rows"})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config.json(), file, indent=2)
        file.write("\n")
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"tokenizer_class": "ElectraTokenizerFast", "do_lower_case": lowercase, "model_max_length": config.positions,
                   "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]",
                   "mask_token": "[MASK]"}, file, indent=2)
        file.write("\n")


def read(folder):
    """-> Compressor with the dequantised weights of a shipped folder."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        j = json.load(file)
    model = Compressor(Config(j["vocab_size"], j["hidden_size"], j["num_hidden_layers"], j["num_attention_heads"],
                              j["intermediate_size"], j["embedding_size"], j["max_position_embeddings"]))
    stored = load_file(os.path.join(folder, "model.safetensors"))
    state = {}
    for name, value in stored.items():
        if not name.endswith("_scale"):
            scale = stored.get(name + "_scale")
            state[name] = value if scale is None else value.float() * scale[:, None]
    model.load_state_dict(state)
    return model
