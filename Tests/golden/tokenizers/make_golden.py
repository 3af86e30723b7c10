"""Makes the small vocabularies beside this file and, with `tokenizers` and `sentencepiece`, what they make of a list of texts.

    .venv-parity/bin/python Tests/golden/tokenizers/make_golden.py

Trained on this repository's own Markdown and on made-up words. Golden files are made once; tests compare with them and never rewrite them.
"""

import io
import json
import sys
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "Tests" / "parity"))

import corpus  # noqa: E402
from layouts import CL100K  # noqa: E402


def training_lines():
    """Fixed at the first making: later edits of the pages do not matter, as nothing is made again."""
    text = "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "docs/abi.md", "docs/errors.md"))
    scripts = ("latin", "greek", "cyrillic", "hebrew", "devanagari", "hiragana", "combining", "digits")
    made_up = "".join(corpus.words(script, 120) for script in scripts)
    return (text + made_up).split("\n")


def train(tokenizer, trainer):
    tokenizer.train_from_iterator(training_lines(), trainer)
    return tokenizer


def bert():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    train(t, trainers.WordPieceTrainer(vocab_size=1200, special_tokens=specials, show_progress=False, limit_alphabet=400))
    t.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    t.add_tokens([AddedToken("LSE", single_word=True, normalized=True)])
    return t


def xlmr():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    train(t, trainers.UnigramTrainer(vocab_size=1200, special_tokens=specials, unk_token="<unk>", show_progress=False))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    t.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return t


def llama3():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CL100K), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    train(t, trainers.BpeTrainer(
        vocab_size=1100, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    data = json.loads(t.to_str())
    data["model"]["ignore_merges"] = True
    data["model"]["merges"] = [m for i, m in enumerate(data["model"]["merges"]) if i < 200 or i % 10]
    t = Tokenizer.from_str(json.dumps(data))
    t.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>"])
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
            special_tokens=[("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))])])
    return t


def gemma():
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.normalizer = normalizers.Replace(" ", "\u2581")
    t.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{i:02X}>" for i in range(256))]
    train(t, trainers.BpeTrainer(vocab_size=1100, special_tokens=specials, show_progress=False, limit_alphabet=300))
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.add_tokens([AddedToken(x, normalized=False) for x in ("\n\n", "\n\n\n", "\u2581\u2581")])
    t.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return t


def word_level():
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    return train(t, trainers.WordLevelTrainer(vocab_size=400, special_tokens=["[UNK]"], show_progress=False))


def texts():
    yield from [
        "The library keeps the tokens that matter and drops the rest.", "a [MASK] b  [MASK]  c", "LSE, LSEs and a lse", "x<mask>y  <mask> z",
        "<|eot_id|> user text <|begin_of_text|>", "a\n\nb\n\n\nc\n\n\n\nd", "▁▁ and ▁", "don't I'LL we've", "<0x41>", "<unk> [UNK] <s>",
    ]
    for i, line in enumerate(corpus.lines()):
        if i < 60 or i % 23 == 0:
            yield line[:160]


def in_bytes(text, offsets):
    border = [0]
    for c in text:
        border.append(border[-1] + len(c.encode()))
    return [border[a] for a, _ in offsets], [border[b] for _, b in offsets]


def golden(t, text, pair=None):
    e = t.encode(text, pair)
    starts, ends = in_bytes(text, e.offsets) if pair is None else ([], [])
    return {
        "text": text, "pair": pair, "ids": e.ids, "starts": starts, "ends": ends, "types": e.type_ids,
        "words": [-1 if w is None else w for w in e.word_ids], "decoded": t.decode(e.ids, skip_special_tokens=True),
    }


def write(name, content):
    path = HERE / name
    if path.exists():
        print("is there already:", name)
        return
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    print(name, path.stat().st_size)


def write_tokenizer(name, t):
    write(f"{name}.json", json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")))
    t = Tokenizer.from_file(str(HERE / f"{name}.json"))
    cases = [golden(t, text) for text in texts()]
    if name != "gemma" and name != "word_level":
        cases.append(golden(t, "first text", "the second, longer text"))
    write(f"{name}.golden.json", json.dumps(
        {"tokenizers": tokenizers.__version__, "cases": cases}, ensure_ascii=False, separators=(",", ":")))


def write_sentencepiece(name, **options):
    model = io.BytesIO()
    rules = ROOT / ".build" / "spm-rules.tsv"
    rules.parent.mkdir(exist_ok=True)
    # A character map of our own: NFKC's would be ten times the size of all the rest.
    rules.write_text("".join(f"{ord(c):X}\t{ord(c.lower()):X}\n" for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ") + "9\t20\nA\t20\n66 69\t46 49\nFB01\t66 69\n200B\t\n")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_lines()), model_writer=model, normalization_rule_tsv=str(rules), minloglevel=2,
        num_threads=1, **options)
    write(f"{name}.model", model.getvalue())
    p = sentencepiece.SentencePieceProcessor(model_file=str(HERE / f"{name}.model"))
    cases = []
    for text in texts():
        ids = p.encode(text)
        cases.append({"text": text, "ids": ids, "decoded": p.decode(ids)})
    write(f"{name}.golden.json", json.dumps(
        {"sentencepiece": sentencepiece.__version__, "cases": cases}, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    for make in (bert, xlmr, llama3, gemma, word_level):
        write_tokenizer(make.__name__, make())
    write_sentencepiece(
        "sp_unigram", vocab_size=1000, model_type="unigram", user_defined_symbols=["<sep>", "KV cache"], hard_vocab_limit=False)
    write_sentencepiece("sp_bpe", vocab_size=1000, model_type="bpe", byte_fallback=True, remove_extra_whitespaces=False)
