"""Tiny compressors with random weights and toy vocabularies, as Hugging Face folders: what llmlingua and tamis both load."""

import base64
from pathlib import Path

import tiktoken
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXT = """\
John: So, um, I've been thinking about the project, you know, and I believe we need to, uh, make some changes. I mean, we want the project to succeed, right? So, like, I think we should consider maybe revising the timeline.
Sarah: I totally agree, John. I mean, we have to be realistic, you know. The timeline is, like, too tight. You know what I mean? We should definitely extend it by 14 days (or 3.5 weeks), to 2025-11-24.

Item 15, report from City Manager: recommendation to adopt three resolutions. First, to join the Victory Pace program, at $1,250.75. Second, to join the California first program. And number three, consenting to inclusion of certain properties within the jurisdiction in the California HERO program; it was emotion, motion, motion a second.
Don't forget: the e-mail is me@example.org, see https://example.org/a?b=1#c. Café, naïve, 東京は日本の首都です。我们在这里。 Привет, мир! Το κείμενο. 🙂 ½ ﬁne ﷺ
The answer is 42. The answer is -7 + 3 * 2 / 5 = "x". Step 1: 12 × 3 ÷ 4. What? Really?! Yes... no; [brackets] {braces} <tags/> `code` ~ ^ | \\ _under_score_ @at #hash %percent & more.
"""


def corpus():
    return [line for line in TEXT.splitlines() if line]


def word_piece(folder: Path):
    """A cased WordPiece vocabulary with BERT's components and mBERT's special tokens."""
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=None)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=420, special_tokens=specials, limit_alphabet=90))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]",
    ).save_pretrained(folder)
    return len(tokenizer.get_vocab())


def unigram(folder: Path):
    """A Unigram vocabulary with XLM-R's layout: <s> <pad> </s> <unk> first, Metaspace."""
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        corpus(),
        trainers.UnigramTrainer(vocab_size=330, special_tokens=specials, unk_token="<unk>", max_piece_length=9))
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.decoder = decoders.Metaspace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", sep_token="</s>", pad_token="<pad>",
        cls_token="<s>", mask_token="<mask>",
    ).save_pretrained(folder)
    return len(tokenizer.get_vocab())


def save_model(folder: Path, config, kind, seed=0):
    """Random weights; the head is wide enough for probabilities from 0.1 to 0.9."""
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        model.classifier.weight.normal_(0, 0.6)
        model.classifier.bias.zero_()
    model.save_pretrained(folder)


SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.4,
    "num_labels": 2,
}


def multilingual_bert(root: Path):
    folder = root / "toy-bert-base-multilingual-cased"
    vocabulary = word_piece(folder)
    config = transformers.BertConfig(vocab_size=vocabulary, max_position_embeddings=512, pad_token_id=0, **SHAPE)
    save_model(folder, config, transformers.BertForTokenClassification)
    return folder


def xlm_roberta(root: Path):
    folder = root / "toy-xlm-roberta-large"
    vocabulary = unigram(folder)
    config = transformers.XLMRobertaConfig(
        vocab_size=vocabulary, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1, bos_token_id=0,
        eos_token_id=2, **SHAPE)
    save_model(folder, config, transformers.XLMRobertaForTokenClassification, seed=1)
    return folder


def ranks(path: Path, merges=300):
    """A file of ranks in tiktoken's form, byte pairs merged greedily by frequency, and the Encoding of it."""
    words = [list(bytes([b]) for b in word.encode()) for word in TEXT.split(" ")]
    table = {bytes([b]): b for b in range(256)}
    for _ in range(merges):
        pairs = {}
        for word in words:
            for a, b in zip(word, word[1:]):
                pairs[a + b] = pairs.get(a + b, 0) + 1
        best = max(sorted(pairs), key=pairs.get)
        if best in table:
            break
        table[best] = len(table)
        for word in words:
            i = 0
            while i + 1 < len(word):
                if word[i] + word[i + 1] == best:
                    word[i:i + 2] = [best]
                i += 1
    for token in [" the".encode(), "▁".encode()]:
        for end in range(2, len(token) + 1):
            table.setdefault(token[:end], len(table))
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in table.items()))
    return tiktoken.Encoding("toy", pat_str=CL100K, mergeable_ranks=table, special_tokens={"<|endoftext|>": 100257})
