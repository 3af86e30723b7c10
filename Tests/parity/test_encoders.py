"""Random encoders saved by transformers in every format, run by libtamis: the logits and states are Hugging Face's."""

import json

import numpy as np
import pytest
import tamis
import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig, BertForTokenClassification, BertModel, CamembertConfig, CamembertForTokenClassification, ElectraConfig,
    ElectraForPreTraining, ElectraForTokenClassification, RobertaConfig, RobertaForTokenClassification, XLMRobertaConfig,
    XLMRobertaForTokenClassification,
)

SIZES = dict(
    vocab_size=307, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=136, max_position_embeddings=80,
    attn_implementation="eager")
LENGTHS = [7, 1, 0, 23, 60, 2, 33]


def build(name):
    torch.manual_seed(11)
    labels = dict(num_labels=3)
    roberta = SIZES | dict(max_position_embeddings=82, pad_token_id=1, type_vocab_size=1, layer_norm_eps=1e-5)
    model = {
        "bert": lambda: BertForTokenClassification(BertConfig(**SIZES, **labels)),
        "bert-tanh": lambda: BertForTokenClassification(BertConfig(**SIZES, **labels, hidden_act="gelu_new")),
        "xlm-roberta": lambda: XLMRobertaForTokenClassification(XLMRobertaConfig(**roberta, num_labels=2)),
        "roberta": lambda: RobertaForTokenClassification(RobertaConfig(**roberta, **labels)),
        "camembert": lambda: CamembertForTokenClassification(CamembertConfig(**roberta, **labels)),
        "electra-narrow": lambda: ElectraForTokenClassification(ElectraConfig(**SIZES, embedding_size=32, **labels)),
        "electra-wide": lambda: ElectraForTokenClassification(ElectraConfig(**SIZES, embedding_size=64, **labels)),
        "electra-discriminator": lambda: ElectraForPreTraining(ElectraConfig(**SIZES, embedding_size=32)),
        "bert-headless": lambda: BertModel(BertConfig(**SIZES)),
    }[name]().eval()
    for parameter in model.parameters():  # transformers starts small: biases 0, weights 0.02
        parameter.data += 0.15 * torch.randn_like(parameter)
    return model


HEADS = ["bert", "bert-tanh", "xlm-roberta", "roberta", "camembert", "electra-narrow", "electra-wide", "electra-discriminator"]


@pytest.fixture(scope="module", params=HEADS)
def case(request, tmp_path_factory):
    model = build(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return model, folder


def sequences(model, lengths=LENGTHS, seed=3):
    rng = np.random.default_rng(seed)
    return [rng.integers(5, model.config.vocab_size, n).astype(np.int32) for n in lengths]


@torch.no_grad()
def theirs(model, ids, **options):
    if len(ids) == 0:
        return None
    out = model(torch.as_tensor(ids[None].astype(np.int64)), **options)
    return (out.logits if hasattr(out, "logits") else out.last_hidden_state)[0].numpy()


def compare(ours, model, batch, within=1e-4, **options):
    worst = 0.0
    for row, ids in zip(ours, batch, strict=True):
        exact = theirs(model, ids, **options)
        if exact is None:
            assert row.shape[0] == 0
            continue
        if exact.ndim == 1:  # the discriminator's
            exact = exact[:, None]
        assert row.shape == exact.shape
        worst = max(worst, float(np.abs(row - exact).max()))
    assert worst <= within, worst
    return worst


def test_logits(case):
    model, folder = case
    encoder = tamis.Encoder(folder)
    batch = sequences(model)
    compare(encoder.classify(batch), model, batch)
    assert encoder.info.parameters == sum(
        p.numel() for n, p in model.named_parameters() if "pooler" not in n)


def test_states_of_one_sequence(case):
    model, folder = case
    encoder = tamis.Encoder(folder)
    batch = sequences(model, [41])
    body = next(getattr(model, name) for name in ("bert", "roberta", "electra") if hasattr(model, name))
    compare(encoder.states(batch), body, batch)


@pytest.mark.parametrize("layout", ["sharded", "zip", "legacy", "half", "bfloat16", "double", "transposed", "sharded bin", "no prefix"])
def test_files(case, layout, tmp_path):
    model, folder = case
    batch = sequences(model, [9, 30])
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    state = dict(model.state_dict())
    if layout == "sharded":
        model.save_pretrained(tmp_path, max_shard_size="100KB")
        assert (tmp_path / "model.safetensors.index.json").exists() and not (tmp_path / "model.safetensors").exists()
    elif layout == "sharded bin":
        names = sorted(state)
        weight_map = {}
        for i in range(3):
            part = {n: state[n] for n in names[i::3]}
            torch.save(part, tmp_path / f"pytorch_model-{i}.bin")
            weight_map |= {n: f"pytorch_model-{i}.bin" for n in part}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    elif layout == "no prefix":
        save_file({n.split(".", 1)[1] if n.split(".")[0] in ("bert", "roberta", "electra") else n: t for n, t in state.items()},
                  tmp_path / "model.safetensors")
    else:
        if layout in ("half", "bfloat16", "double"):
            dtype = getattr(torch, layout.replace("half", "float16").replace("double", "float64"))
            state = {n: t.to(dtype) for n, t in state.items()}
            model = build_like(model, {n: t.float() for n, t in state.items()})
        elif layout == "transposed":  # not row-major in the file, and two tensors in one storage
            state = {n: t.T.contiguous().T if t.ndim == 2 else torch.stack([t, t])[1] for n, t in state.items()}
        torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=layout != "legacy")
    encoder = tamis.Encoder(tmp_path, precision="f32")
    compare(encoder.classify(batch), model, batch)


def build_like(model, state):
    other = type(model)(model.config).eval()
    other.load_state_dict(state)
    return other


def test_parameters_and_whole_state_in_a_pickle(case, tmp_path):
    """Parameters, an OrderedDict with metadata, buffers of other types: what old checkpoints hold."""
    model, folder = case
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    state = model.state_dict(keep_vars=True)  # Parameters
    state["bert.embeddings.position_ids"] = torch.arange(80).expand(1, -1)
    torch.save(state, tmp_path / "pytorch_model.bin")
    batch = sequences(model, [12])
    compare(tamis.Encoder(tmp_path).classify(batch), model, batch)


def test_ragged_is_padded(case):
    """Every sequence padded to the longest with a mask, as transformers batches."""
    model, folder = case
    batch = [ids for ids in sequences(model) if len(ids)]
    longest = max(map(len, batch))
    pad = model.config.pad_token_id
    ids = torch.full((len(batch), longest), pad)
    mask = torch.zeros(len(batch), longest, dtype=torch.long)
    for i, row in enumerate(batch):
        ids[i, : len(row)] = torch.as_tensor(row.astype(np.int64))
        mask[i, : len(row)] = 1
    with torch.no_grad():
        exact = model(ids, attention_mask=mask).logits.numpy()
    ours = tamis.Encoder(folder).classify(batch)
    for i, row in enumerate(ours):
        expected = exact[i, : len(row)].reshape(len(row), -1)
        assert np.abs(row - expected).max() <= 1e-4


def test_the_batch_does_not_matter(case):
    """Same bits alone, in any order, and next to anything."""
    model, folder = case
    encoder = tamis.Encoder(folder)
    batch = sequences(model)
    whole = encoder.classify(batch)
    back = encoder.classify(batch[::-1])[::-1]
    for ids, a, b in zip(batch, whole, back, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, encoder.classify([ids])[0])


def test_roberta_positions_begin_after_the_padding_id(tmp_path):
    """Rows 0 and 1 of the table are never read; a single token stands on row 2."""
    model = build("xlm-roberta")
    batch = sequences(model, [1, 30])
    table = model.roberta.embeddings.position_embeddings.weight.data
    table[:2] = float("nan")
    model.save_pretrained(tmp_path / "a")
    encoder = tamis.Encoder(tmp_path / "a")
    assert encoder.info.max_tokens == 80
    single, _ = encoder.classify(batch)
    compare(encoder.classify(batch), model, batch)
    table[3:] = float("nan")
    model.save_pretrained(tmp_path / "b")
    assert np.array_equal(tamis.Encoder(tmp_path / "b").classify(batch[:1])[0], single)
    with pytest.raises(tamis.InvalidArgumentError, match="81 tokens; expected at most 80"):
        encoder.classify([np.full(81, 9)])


def test_int8_files(case, tmp_path):
    """Linear layers and embeddings as int8 with a scale per row: exact when run in f32."""
    model, folder = case
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    stored, state = {}, {}
    for name, t in model.state_dict().items():
        state[name] = t
        if t.ndim != 2:
            stored[name] = t.contiguous()
            continue
        scale = t.abs().amax(1) / 127
        levels = torch.round(t / scale[:, None]).to(torch.int8)
        stored[name], stored[name + "_scale"] = levels, scale
        state[name] = levels.float() * scale[:, None]
    save_file(stored, tmp_path / "model.safetensors")
    model = build_like(model, state)
    batch = sequences(model)
    compare(tamis.Encoder(tmp_path, precision="f32").classify(batch), model, batch)
    encoder = tamis.Encoder(tmp_path)
    assert encoder.info.precision == "i8"
    scale = max(float(np.abs(theirs(model, ids)).max()) for ids in batch if len(ids))
    compare(encoder.classify(batch), model, batch, 0.1 * scale)


@pytest.mark.parametrize("precision, within", [("bf16", 0.15), ("i8", 0.2)])
def test_low_precision(case, precision, within):
    model, folder = case
    encoder = tamis.Encoder(folder, precision=precision)
    assert encoder.info.precision == precision
    batch = sequences(model)
    scale = max(float(np.abs(theirs(model, ids)).max()) for ids in batch if len(ids))
    compare(encoder.classify(batch), model, batch, within * scale)


def test_probabilities(case):
    model, folder = case
    encoder = tamis.Encoder(folder)
    batch = sequences(model)
    for p, z in zip(encoder.classify(batch, probabilities=True), encoder.classify(batch), strict=True):
        z = torch.as_tensor(z)
        exact = torch.sigmoid(z) if z.shape[1] == 1 else torch.softmax(z, -1)
        assert np.abs(p - exact.numpy()).max(initial=0) <= 1e-6


def test_token_types(tmp_path):
    model = build("bert")
    model.save_pretrained(tmp_path)
    ids = sequences(model, [20])[0]
    types = np.repeat([0, 1], 10)
    ours = tamis.Encoder(tmp_path).classify([ids], types=[types])[0]
    exact = theirs(model, ids, token_type_ids=torch.as_tensor(types[None]))
    assert np.abs(ours - exact).max() <= 1e-4
    assert np.abs(ours - theirs(model, ids)).max() > 1e-2


def test_pads_inside_a_roberta_sequence(tmp_path):
    """Positions count the ids that are no padding; padding stays on its own row."""
    model = build("xlm-roberta")
    model.save_pretrained(tmp_path)
    ids = sequences(model, [20])[0]
    ids[[3, 4, 11]] = 1
    compare(tamis.Encoder(tmp_path).classify([ids]), model, [ids])


def test_pooling(tmp_path):
    model = build("bert-headless")
    model.save_pretrained(tmp_path)
    batch = sequences(model)
    encoder = tamis.Encoder(tmp_path)
    states = [theirs(model, ids) for ids in batch]
    zero = np.zeros(64, np.float32)
    exact = {
        "mean": [zero if s is None else s.mean(0) for s in states], "cls": [zero if s is None else s[0] for s in states],
        "max": [zero if s is None else s.max(0) for s in states],
    }
    for pooling, expected in exact.items():
        expected = np.stack(expected)
        assert np.abs(encoder.embed(batch, pooling=pooling) - expected).max() <= 1e-4
        unit = expected / np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
        assert np.abs(encoder.embed(batch, pooling=pooling, normalise=True) - unit).max() <= 1e-5
    with pytest.raises(tamis.UnsupportedError, match="head"):
        encoder.classify(batch)


def test_added_rows(tmp_path):
    model = build("xlm-roberta")
    model.save_pretrained(tmp_path)
    encoder = tamis.Encoder(tmp_path, added_rows=5)
    assert encoder.info.vocabulary == 312
    ids = np.array([0, 9, 307, 20, 311, 2], np.int32)
    model.resize_token_embeddings(312, mean_resizing=False)
    word = model.roberta.embeddings.word_embeddings.weight.data
    word[307:] = word[:307].double().mean(0).float()
    compare(encoder.classify([ids]), model, [ids])
    with pytest.raises(tamis.InvalidArgumentError, match="312"):
        encoder.classify([[312]])


TEXTS = ["the cat sat on the mat", "a dog", "", "mats and cats and dogs and mats sat on the cat and a dog and a mat on a mat", "unknown zebra"]


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
@torch.no_grad()
def test_a_sentence_embedder(mode, tmp_path):
    """Texts through a folder as sentence-transformers writes it: tokenizer, cut at max_seq_length, pooling, length 1."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = "the cat sat on mat a dog and ##s un ##known".split()
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    fast.save_pretrained(tmp_path)
    model = build("bert-headless")
    model.save_pretrained(tmp_path)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    (tmp_path / "modules.json").write_text(json.dumps(
        [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"} for i, (t, p) in enumerate(modules)]))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12, "do_lower_case": False}))
    (tmp_path / "1_Pooling").mkdir()
    name = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}[mode]
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(
        {"word_embedding_dimension": 64} | {f"pooling_mode_{n}": n == name for n in ("cls_token", "mean_tokens", "max_tokens")}))

    encoder = tamis.Encoder(tmp_path)
    assert (encoder.info.pooling, encoder.info.normalise, encoder.info.embed_tokens) == (mode, True, 12)
    inputs = fast(TEXTS, padding=True, truncation=True, max_length=12, return_tensors="pt")
    states = model(inputs.input_ids, attention_mask=inputs.attention_mask).last_hidden_state
    mask = inputs.attention_mask[..., None]
    pooled = {
        "mean": (states * mask).sum(1) / mask.sum(1), "cls": states[:, 0],
        "max": states.masked_fill(mask == 0, -torch.inf).amax(1),
    }[mode]
    exact = torch.nn.functional.normalize(pooled).numpy()
    assert np.abs(encoder.embed(TEXTS) - exact).max() < 1e-5
