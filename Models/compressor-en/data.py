"""From text to batches: the WordPiece vocabulary, passages as token ids with a word number each, packed plain text."""

import random

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from annotate import group

PAD, UNK, CLS, SEP, MASK = range(5)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LIMIT = 512


def train_vocabulary(texts, size, lowercase):
    """A WordPiece tokenizer of `size` pieces with BERT's normaliser and pre-tokenizer."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False, min_frequency=2,
                                        limit_alphabet=300)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)])
    return tokenizer


class Passage:
    """Token ids without specials, the word each belongs to, and the words' labels (float: they may be soft)."""

    def __init__(self, identifier, ids, word, label):
        self.id, self.ids, self.word, self.label = identifier, ids, word, label

    def __len__(self):
        return len(self.ids)


def encode(tokenizer, rows):
    """Annotated passages (annotate.passages) -> [Passage]; one longer than the model's limit is cut between words."""
    out = []
    for row, e in zip(rows, tokenizer.encode_batch([r["text"] for r in rows], add_special_tokens=False)):
        owner = []
        for w, (a, b) in enumerate(row["spans"]):
            owner += [w] * (b - len(owner)) if b > len(owner) else []
        word = [owner[start] for start, _ in e.offsets]
        begin = 0
        while begin < len(e.ids):
            end = min(begin + LIMIT - 2, len(e.ids))
            while end < len(e.ids) and end - 1 > begin and word[end] == word[end - 1]:
                end -= 1
            first, last = word[begin], word[end - 1]
            out.append(Passage(row["id"], e.ids[begin:end], [w - first for w in word[begin:end]],
                               [float(x) for x in row["labels"][first:last + 1]]))
            begin = end
    return out


def joined(passages, rng, share):
    """Runs of neighbouring passages of one group glued to longer ones, as a long document is seen; `share` of the runs
    have more than one."""
    out, i = [], 0
    while i < len(passages):
        run = passages[i]
        want = rng.choice((2, 3, 4)) if rng.random() < share else 1
        i += 1
        while want > 1 and i < len(passages) and group(passages[i].id) == group(run.id) \
                and len(run) + len(passages[i]) <= LIMIT - 2:
            base = len(run.label)
            run = Passage(run.id, run.ids + passages[i].ids, run.word + [w + base for w in passages[i].word],
                          run.label + passages[i].label)
            i, want = i + 1, want - 1
        out.append(run)
    return out


def batches(passages, tokens, rng=None):
    """Lists of passages of about equal length, at most `tokens` tokens with padding each; shuffled when `rng` is given."""
    order = sorted(passages, key=lambda p: len(p) + (rng.random() * 12 if rng else 0))
    out, batch, widest = [], [], 0
    for p in order:
        widest = max(widest, len(p) + 2)
        if batch and widest * (len(batch) + 1) > tokens:
            out.append(batch)
            batch, widest = [], len(p) + 2
        batch.append(p)
    if batch:
        out.append(batch)
    if rng:
        rng.shuffle(out)
    return out


def collate(batch, rng=None):
    """-> ids, mask, positions [B, T]; word number of each token in the whole batch [B, T], -1 for none; labels [W] and
    the passage of each word [W]. With `rng` a passage may start at a later position, so that all of them are trained."""
    width = max(len(p) for p in batch) + 2
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask, word, at = torch.zeros_like(ids), torch.full_like(ids, -1), torch.arange(width).repeat(len(batch), 1)
    label, owner = [], []
    for i, p in enumerate(batch):
        n = len(p)
        ids[i, :n + 2] = torch.tensor([CLS] + p.ids + [SEP])
        mask[i, :n + 2] = 1
        word[i, 1:n + 1] = torch.tensor(p.word) + len(label)
        label += p.label
        owner += [i] * len(p.label)
        if rng and rng.random() < 0.3:
            at[i, 1:] += rng.randrange(0, LIMIT - width + 1)
    return ids, mask, at, word, torch.tensor(label), torch.tensor(owner)


def word_probability(logit, word, count):
    """Mean of sigmoid(logit) over the tokens of each word: [B, T] -> [count]. A word without tokens (it held nothing
    but control characters) gets 0."""
    real = word >= 0
    p, at = torch.sigmoid(logit[real]), word[real]
    total = torch.zeros(count, device=p.device).index_add(0, at, p)
    size = torch.zeros(count, device=p.device).index_add(0, at, torch.ones_like(p))
    return total / size.clamp_min(1)


def pack(tokenizer, texts, length):
    """Plain documents -> int16-sized rows of `length` ids, [CLS] ... [SEP], cut wherever a row is full."""
    stream = []
    for start in range(0, len(texts), 512):
        for e in tokenizer.encode_batch(texts[start:start + 512], add_special_tokens=False):
            stream += e.ids + [SEP]
    body = length - 1
    rows = torch.tensor(stream[:len(stream) // body * body], dtype=torch.int32).view(-1, body)
    return torch.cat([torch.full((len(rows), 1), CLS, dtype=torch.int32), rows], 1)


def split(items, fraction, seed, key=lambda x: x["id"]):
    """-> (train, held out): whole groups go to one side, `fraction` of each source's groups to the second. A source of
    fewer than four groups (every problem of GSM8K has one prefix) is split by passage."""
    rng, sources = random.Random(seed), {}
    for item in items:
        sources.setdefault(key(item).split("/")[0], {}).setdefault(group(key(item)), []).append(item)
    train, held = [], []
    for _, groups in sorted(sources.items()):
        units = list(groups.values()) if len(groups) >= 4 else [[x] for members in groups.values() for x in members]
        rng.shuffle(units)
        cut = round(len(units) * fraction)
        held += [x for unit in units[:cut] for x in unit]
        train += [x for unit in units[cut:] for x in unit]
    return train, held
