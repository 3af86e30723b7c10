"""Trains the shipped English compressor from nothing but text and labelled passages.

    python train.py --data pairs.jsonl --text text/*.txt --talk talk/*.txt --out DIR [--work DIR] [--device cuda] [--start DIR]

1. annotate: word labels of the passages by alignment, filtered (annotate.py).
2. vocabulary: lower-cased WordPiece over the plain text and the training passages.
3. start: word vectors from co-occurrence, positions, heads at fixed distances (pretrain.vectors, start.py).
4. pre-train: replaced-token detection for --pretrain-minutes (pretrain.py). With --start the encoder and the vocabulary of an
   earlier result go on, and 2 and 3 are left out.
5. fine-tune on the passages, dialogues varied anew every epoch (finetune.py, turns.py), twice from the pre-trained
   encoder: --teacher-minutes on the labels, --finetune-minutes on labels softened by the first result; then, from the
   pre-trained encoder again, --student-minutes on labels softened by both and on --unlabelled passages of the talk and the
   text with the labels that both give them (unlabelled.py); without talk --polish-minutes at a low rate, from the first, on
   labels softened by both and dialogues varied less.
6. calibrate: two numbers, on the held-out passages (calibrate.py).
7. evaluate on held-out meetings and articles, as float32 and as the int8 kernels compute it (evaluate.py).
8. export the int8 folder (export.py).

--work keeps tokenizer, vectors and checkpoints; run the same command again to go on where it stopped. A file named `stop`
there ends the running stage early."""

import argparse
import json
import os
import random

import numpy as np
import torch
from tokenizers import Tokenizer

import annotate
import calibrate
import data
import evaluate
import export
import finetune
import pretrain
import start
from model import Compressor, Config, simulate_int8


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", required=True, help='JSON lines of {"id", "text", "compressed"}')
    p.add_argument("--text", nargs="*", default=[], help="plain text files, a paragraph a line")
    p.add_argument("--text-limit", type=int, default=4_000_000, help="characters taken of one file")
    p.add_argument("--out", required=True)
    p.add_argument("--work", default="compressor-work")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--pretrain-minutes", type=float, default=30)
    p.add_argument("--teacher-minutes", type=float, default=12)
    p.add_argument("--finetune-minutes", type=float, default=16)
    p.add_argument("--polish-minutes", type=float, default=8)
    p.add_argument("--held-out", type=float, default=0.1, help="share of the meetings and articles of each source")
    p.add_argument("--split-seed", type=int, default=1)
    p.add_argument("--vocabulary", type=int, default=8192)
    p.add_argument("--cased", action="store_true")
    p.add_argument("--hidden", type=int, default=192)
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--heads", type=int, default=6)
    p.add_argument("--intermediate", type=int, default=768)
    p.add_argument("--embedding", type=int, default=128)
    p.add_argument("--pretrain-rate", type=float, default=1e-3)
    p.add_argument("--finetune-rate", type=float, default=7e-4)
    p.add_argument("--pretrain-tokens", type=int, default=4096, help="tokens of a batch")
    p.add_argument("--finetune-tokens", type=int, default=3072)
    p.add_argument("--dropout", type=float, default=0.2)
    p.add_argument("--focus", type=float, default=0.0, help="exponent of the focal loss; 0: cross-entropy")
    args = p.parse_args()
    if args.embedding <= start.POSITION:
        p.error(f"--embedding is {args.embedding}; expected more than {start.POSITION}, the columns of the positions")
    return args


def paragraphs(files, limit, seed=0):
    """Plain text, up to `limit` characters of each file; one longer than that is sampled in runs of ten paragraphs."""
    rng, out = random.Random(seed), []
    for path in files:
        with open(path, encoding="utf-8") as file:
            lines = [x for x in file.read().split("\n") if x]
        runs = [lines[i:i + 10] for i in range(0, len(lines), 10)]
        if sum(map(len, lines)) > limit:
            rng.shuffle(runs)
        size = 0
        for run in runs:
            if size > limit:
                break
            size += sum(map(len, run))
            out += run
    return out


def prepared(args, train):
    """-> tokenizer, packed rows for pre-training, word vectors."""
    texts, own = paragraphs(args.text, args.text_limit), [r["text"] for r in train]
    path = os.path.join(args.work, "tokenizer.json")
    if not os.path.exists(path):
        data.train_vocabulary([*texts, *own * 6], args.vocabulary, not args.cased).save(path)
    tokenizer = Tokenizer.from_file(path)
    rows = torch.cat([data.pack(tokenizer, part, 128) for part in (texts, own, own)])
    path = os.path.join(args.work, "vectors.pt")
    if not os.path.exists(path):
        torch.save(pretrain.vectors(rows.flatten().numpy().astype(np.int64), tokenizer.get_vocab_size(), args.embedding), path)
    return tokenizer, rows, torch.load(path)


def beliefs(config, state, tokenizer, rows):
    """Keep probabilities of the words of `rows`."""
    model = Compressor(config)
    model.load_state_dict(state)
    return evaluate.probabilities(model, tokenizer, rows)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    os.makedirs(args.work, exist_ok=True)
    say = lambda line: print(line, flush=True)
    train, held = data.split(annotate.passages(args.data), args.held_out, args.split_seed)
    tokenizer, rows, vectors = prepared(args, train)
    config = Config(tokenizer.get_vocab_size(), args.hidden, args.layers, args.heads, args.intermediate, args.embedding)
    say(f"{len(train)} passages to train on, {len(held)} held out, {rows.numel()} tokens of plain text")
    encoder = pretrain.run(config, rows, vectors, args.work, args.pretrain_minutes, args.pretrain_tokens, args.pretrain_rate,
                           device=args.device, say=say)
    tune = lambda name, labelled, begin, minutes, rate=args.finetune_rate, **more: finetune.run(
        config, tokenizer, labelled, held, begin, args.work, minutes, rate, args.finetune_tokens, gamma=args.focus,
        device=args.device, say=say, name=name, **more)
    first = tune("first", train, encoder, args.teacher_minutes, dropout=0.12, mask_rate=0.06, decay=0.05)
    said = [beliefs(config, first, tokenizer, train)]
    second = tune("second", finetune.softened(train, said[0], 0.4), encoder, args.finetune_minutes, dropout=args.dropout, seed=2)
    said.append(beliefs(config, second, tokenizer, train))
    both = [(p + q) / 2 for p, q in zip(*said)]
    state = tune("polished", finetune.softened(train, both, 0.45), first, args.polish_minutes, 0.35 * args.finetune_rate,
                 dropout=0.15, mask_rate=0.08, disturb=0.1, seed=5)
    model = Compressor(config)
    model.load_state_dict(state)
    parts = calibrate.logits(model, tokenizer, held)
    say(f"calibration error {calibrate.error(parts, 1.0, 0.0):.4f} as trained, {calibrate.crossed(parts):.4f} cross-fitted")
    model.load_state_dict(calibrate.fold(state, *calibrate.fit(parts)))
    export.write(state, config, tokenizer, args.out, not args.cased)
    report = {"float32": evaluate.scores(held, evaluate.probabilities(model, tokenizer, held)),
              "int8": evaluate.scores(held, evaluate.probabilities(simulate_int8(export.read(args.out)), tokenizer, held))}
    with open(os.path.join(args.work, "report.json"), "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2)
    say(json.dumps({k: {"f1": v["f1"], "f1_domain": v["f1_domain"], "ece": v["ece"]} for k, v in report.items()}))


if __name__ == "__main__":
    main()
