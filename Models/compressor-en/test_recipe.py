"""python -m pytest Models/compressor-en/test_recipe.py (torch, tokenizers, safetensors; transformers for one test)"""

import os
import random

import pytest
import torch

import annotate
import calibrate
import corpus
import data
import evaluate
import export
import pretrain
import start
import turns
import unlabelled
from model import Compressor, Config, ReplacedTokens, quantise_rows, simulate_int8

HERE = os.path.dirname(os.path.abspath(__file__))
DIALOGUE = "Ann: Well, tea.\nBob: Mm.\nAnn: And milk.\nCid Lee: Fine."


def row(text, kept):
    spans = annotate.words(text)
    return {"id": "source/meeting/0", "text": text, "spans": spans, "labels": [i in kept for i in range(len(spans))]}


def test_a_name_stays_when_the_speaker_changed_and_something_was_kept():
    parsed = turns.parse(row(DIALOGUE, {2, 7}))
    assert [t.name for t in parsed] == [["Ann:"], ["Bob:"], ["Ann:"], ["Cid", "Lee:"]]
    again = turns.rebuild("x", turns.relabel(parsed))
    assert again["text"] == DIALOGUE
    kept = [again["text"][a:b] for (a, b), y in zip(again["spans"], again["labels"]) if y]
    assert kept == ["Ann:", "tea.", "milk."]          # Ann spoke last: her name is not repeated


def test_prose_is_no_dialogue():
    assert turns.parse(row("One line.\nTwo lines.\nAnother: line.", {0})) is None


def test_varied_rows_are_consistent():
    rows = [row(DIALOGUE, {2, 7, 10}), row("Just prose here.", {1})] * 20
    for seed in range(5):
        for r in turns.vary(rows, random.Random(seed)):
            assert len(r["labels"]) == len(r["spans"]) and r["spans"] == annotate.words(r["text"])


def test_word_probability_is_the_mean_over_pieces():
    logit = torch.tensor([[9.0, 0.0, 2.0, -1.0, 9.0]])
    word = torch.tensor([[-1, 0, 0, 1, -1]])
    expected = torch.tensor([(0.5 + torch.sigmoid(torch.tensor(2.0))) / 2, torch.sigmoid(torch.tensor(-1.0))])
    assert torch.allclose(data.word_probability(logit, word, 2), expected)
    assert data.word_probability(logit, word, 3)[2] == 0


def test_calibration_undoes_a_scale_and_shift():
    torch.manual_seed(0)
    z = torch.randn(20000) * 2
    label = (torch.rand(20000) < torch.sigmoid(z)).float()
    parts = [(f"g{i}", z[i::10] * 0.5 - 1, torch.arange(2000), label[i::10]) for i in range(10)]
    scale, shift = calibrate.fit(parts)
    assert abs(scale - 2) < 0.1 and abs(shift - 2) < 0.1
    assert calibrate.error(parts, scale, shift) < 0.01 < calibrate.error(parts, 1.0, 0.0)
    c = Config(20, 64, 1, 2, 64, 32)
    model = Compressor(c).eval()
    ids = torch.randint(5, 20, (1, 6))
    arguments = ids, torch.ones_like(ids), torch.arange(6)[None]
    before = model(*arguments)
    model.load_state_dict(calibrate.fold(model.state_dict(), scale, shift))
    assert torch.allclose(model(*arguments), before * scale + shift, atol=1e-5)


def test_split_keeps_groups_whole():
    items = [{"id": f"s/{g}/{i}"} for g in range(40) for i in range(5)]
    train, held = data.split(items, 0.1, 3)
    side = [{annotate.group(x["id"]) for x in part} for part in (train, held)]
    assert len(side[1]) == 4 and not side[0] & side[1] and len(train) + len(held) == len(items)


def test_the_words_of_a_dialogue_with_labels_by_the_rule():
    r = row(DIALOGUE, {2, 7})
    p = torch.tensor([0.0, 0.1, 0.9, 0.9, 0.2, 0.3, 0.0, 0.8, 0.9, 0.9, 0.5])       # Ann: Well, tea. Bob: Mm. Ann: And milk. Cid Lee: Fine.
    assert evaluate.kept_words(r, p, 3, speakers=True).nonzero().flatten().tolist() == [0, 2, 7]
    assert evaluate.kept_words(r, p, 6, speakers=True).nonzero().flatten().tolist() == [0, 2, 7, 8, 9, 10]
    assert evaluate.kept_words(r, p, 3).nonzero().flatten().tolist() == [2, 3, 8]
    prose = row("Just some prose.", {1})
    assert evaluate.kept_words(prose, torch.tensor([0.1, 0.3, 0.2]), 2, speakers=True).tolist() == [0, 1, 1]


TRANSCRIPT = """# Episode

**Ann Lee:** Hello \\[00:14\\] there, see [this](https://example.org/a) *now*.

And a second paragraph of hers.

**Break:** \\[01:00\\]

Not anybody's.

**Bob:** Yes.
"""


def test_transcripts_become_lines_of_turns(tmp_path):
    (tmp_path / "show" / "a").mkdir(parents=True)
    (tmp_path / "show" / "a" / "1.md").write_text(TRANSCRIPT, encoding="utf-8")
    assert corpus.talk(str(tmp_path / "show"), str(tmp_path), 10_000)[0] == "show"
    lines = (tmp_path / "show.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["Ann Lee: Hello there, see this now.", "And a second paragraph of hers.", "Bob: Yes."]


def test_passages_without_labels():
    talk = [f"{name}: " + "word " * (3 + i % 40) for i in range(3000) for name in ("Ann", "Bob")]
    rows = unlabelled.passages(talk, ["plain prose " * 40], 200)
    assert len(rows) == 200 and all(r["spans"] == annotate.words(r["text"]) and len(r["spans"]) == len(r["labels"]) for r in rows)
    sources = [r["id"].split("/")[0] for r in rows]
    assert 10 < sources.count("prose") < 60 and max(len(r["labels"]) for r in rows) <= 190
    assert rows == unlabelled.passages(talk, ["plain prose " * 40], 200)          # by the seed alone
    kept = unlabelled.labelled(rows[:1], [torch.full((len(rows[0]["labels"]),), 0.25)])
    assert set(kept[0]["labels"]) == {0.25}


def test_pretraining_goes_on_from_an_earlier_encoder(tmp_path):
    torch.manual_seed(0)
    c = Config(60, 64, 1, 2, 64, 64)
    begin = Compressor(c).state_dict()
    rows = torch.randint(5, 60, (64, 16), dtype=torch.int32)
    (tmp_path / "stop").touch()                       # before the first step
    state = pretrain.run(c, rows, None, str(tmp_path), 1, tokens=64, begin=begin)
    assert all(torch.equal(state[k], begin[k]) for k in begin)


def test_distance_heads_look_where_they_should():
    c = Config(50, 192, 2, 6, 64, 128)
    model = Compressor(c)
    start.embed(model.electra.embeddings, c, torch.randn(50, 128))
    start.wire(model.electra, c)
    at = torch.arange(40)[None]
    x = model.electra.embeddings_project(model.electra.embeddings(torch.randint(5, 50, (1, 40)), at))
    attention = model.electra.encoder.layer[0].attention.self
    q, k = (f(x).view(40, 6, 32).transpose(0, 1) for f in (attention.query, attention.key))
    weight = (q @ k.transpose(1, 2) / 32 ** 0.5).softmax(-1)
    for head, distance in enumerate(start.DISTANCES[0]):
        assert weight[head].diagonal(distance).mean() > 0.8


def test_rows_quantise_to_half_a_step():
    w = torch.randn(7, 33)
    q, s = quantise_rows(w)
    assert q.abs().max() == 127 and ((q.float() * s[:, None] - w).abs() <= s[:, None] * 0.5001).all()


def test_pretraining_step_has_gradients_everywhere():
    c = Config(60, 64, 2, 2, 64, 64)
    pair = ReplacedTokens(Compressor(c).electra, c)
    ids = torch.randint(5, 60, (2, 12))
    chosen = torch.zeros(2, 12, dtype=torch.bool)
    chosen[:, 3:5] = True
    loss, _, _ = pair(ids, torch.ones_like(ids), torch.arange(12).repeat(2, 1), chosen, data.MASK)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for n, p in pair.named_parameters())


def test_exported_folder_reads_back(tmp_path):
    tokenizer = data.train_vocabulary(["some plain text to learn pieces from"] * 4, 60, True)
    c = Config(tokenizer.get_vocab_size(), 64, 1, 2, 64, 32)
    model = Compressor(c)
    export.write(model.state_dict(), c, tokenizer, str(tmp_path), True)
    again = export.read(str(tmp_path))
    for name, value in model.state_dict().items():
        step = value.abs().amax(-1, keepdim=True) / 127 if value.dim() > 1 else torch.tensor(0.0)
        assert ((again.state_dict()[name] - value).abs() <= step * 0.51 + 1e-7).all(), name


def test_shipped_model_keeps_what_carries_meaning():
    if not os.path.exists(os.path.join(HERE, "model.safetensors")):
        pytest.skip("no weights here")
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(HERE, "tokenizer.json"))
    text = "Um, so the meeting with Katherine is on the 14th of March, and it is not in Boston."
    r = row(text, set())
    p = evaluate.probabilities(simulate_int8(export.read(HERE)), tokenizer, [r])[0]
    score = {annotate.key(text[a:b]): float(x) for (a, b), x in zip(r["spans"], p)}
    assert min(score[w] for w in ("katherine", "14th", "march", "not", "boston")) > 0.5
    assert max(score[w] for w in ("um", "the", "so")) < 0.5


def test_shipped_model_is_transformers_electra():
    transformers = pytest.importorskip("transformers")
    model = export.read(HERE).eval()
    theirs = transformers.ElectraForTokenClassification(transformers.AutoConfig.from_pretrained(HERE)).eval()
    theirs.load_state_dict(model.state_dict())
    ids = torch.randint(5, model.config.vocab_size, (2, 30))
    with torch.no_grad():
        a, b = theirs(ids).logits, model(ids, torch.ones_like(ids), torch.arange(30).repeat(2, 1))
    assert torch.allclose(a[..., 1] - a[..., 0], b, atol=1e-4)
