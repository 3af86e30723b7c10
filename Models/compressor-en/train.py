"""Trains the shipped English compressor from nothing but text and labelled passages.

    python train.py --data pairs.jsonl --text text/*.txt --talk talk/*.txt --out DIR [--work DIR] [--device cuda] [--start DIR]

1. annotate: word labels of the passages by alignment, filtered (annotate.py).
2. vocabulary: lower-cased WordPiece over the plain text and the training passages.
3. start: word vectors from co-occurrence, positions, heads at fixed distances (pretrain.vectors, start.py).
4. pre-train: replaced-token detection for --pretrain-minutes (pretrain.py). With --start the encoder and the vocabulary of an
   earlier result go on, and 2 and 3 are left out.
5. fine-tune on the passages, dialogues varied anew every epoch (finetune.py, turns.py), twice from the pre-trained
   encoder: --teacher-minutes on the labels, --finetune-minutes on labels softened by the earlier or else the first result; then,
   from the second and at a lower rate, --student-minutes on labels softened by all of them, and on --unlabelled passages of
   the talk and the text with the labels that they give these (unlabelled.py), dialogues varied less.
6. calibrate: two numbers, on the held-out passages (calibrate.py).
7. evaluate on held-out meetings and articles, as float32 and as the int8 kernels compute it (evaluate.py).
8. export the int8 folder (export.py).

--work keeps tokenizer, vectors and checkpoints; run the same command again to go on where it stopped. A file named `stop`
there ends the running stage early."""

import argparse
import json
import math
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
import unlabelled
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
    p.add_argument("--student-minutes", type=float, default=20)
    p.add_argument("--talk", nargs="*", default=[], help="transcripts, a turn `Name: words` a line, in order; taken whole")
    p.add_argument("--unlabelled", type=int, default=2500, help="passages without labels for the student, when there is talk")
    p.add_argument("--start", help="folder of an earlier result to go on from; the shape and the vocabulary are its")
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
    """-> tokenizer, packed rows for pre-training, word vectors (None with --start), lines of text, lines of talk."""
    texts, talk = paragraphs(args.text, args.text_limit), paragraphs(args.talk, math.inf)
    own = [r["text"] for r in train]
    path = os.path.join(args.start or args.work, "tokenizer.json")
    if not os.path.exists(path):
        data.train_vocabulary([*texts, *talk, *own * 6], args.vocabulary, not args.cased).save(path)
    tokenizer = Tokenizer.from_file(path)
    rows = torch.cat([data.pack(tokenizer, part, 128) for part in (texts, talk, own, own) if part])
    if args.start:
        return tokenizer, rows, None, texts, talk
    path = os.path.join(args.work, "vectors.pt")
    if not os.path.exists(path):
        torch.save(pretrain.vectors(rows.flatten().numpy().astype(np.int64), tokenizer.get_vocab_size(), args.embedding), path)
    return tokenizer, rows, torch.load(path), texts, talk


def beliefs(config, states, tokenizer, rows):
    """Keep probabilities of the words of `rows`, the mean over models."""
    each = []
    for state in states:
        model = Compressor(config)
        model.load_state_dict(state)
        each.append(evaluate.probabilities(model, tokenizer, rows))
    return [torch.stack(p).mean(0) for p in zip(*each)]


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    os.makedirs(args.work, exist_ok=True)
    say = lambda line: print(line, flush=True)
    train, held = data.split(annotate.passages(args.data), args.held_out, args.split_seed)
    tokenizer, rows, vectors, texts, talk = prepared(args, train)
    earlier = export.read(args.start) if args.start else None
    config = earlier.config if earlier else Config(
        tokenizer.get_vocab_size(), args.hidden, args.layers, args.heads, args.intermediate, args.embedding)
    say(f"{len(train)} passages to train on, {len(held)} held out, {rows.numel()} tokens of plain text")
    encoder = pretrain.run(config, rows, vectors, args.work, args.pretrain_minutes, args.pretrain_tokens, args.pretrain_rate,
                           device=args.device, begin=earlier and earlier.state_dict(), say=say)
    encoder.update({k: v for k, v in Compressor(config).state_dict().items() if k.startswith("classifier.")})
    tune = lambda name, labelled, begin, minutes, rate=args.finetune_rate, **more: finetune.run(
        config, tokenizer, labelled, held, begin, args.work, minutes, rate, args.finetune_tokens, gamma=args.focus,
        device=args.device, say=say, name=name, **more)
    teachers = [earlier.state_dict()] if earlier else []
    teachers.append(tune("first", train, encoder, args.teacher_minutes, dropout=0.12, mask_rate=0.06, decay=0.05))
    soft = finetune.softened(train, beliefs(config, teachers[:1], tokenizer, train), 0.4)
    teachers.append(tune("second", soft, encoder, args.finetune_minutes, dropout=args.dropout, seed=2))
    more = unlabelled.passages(talk, texts, args.unlabelled) if talk else []
    soft = finetune.softened(train, beliefs(config, teachers, tokenizer, train), 0.5)
    soft += unlabelled.labelled(more, beliefs(config, teachers, tokenizer, more)) if more else []
    state = tune("student", soft, teachers[-1], args.student_minutes, 0.57 * args.finetune_rate,
                 dropout=0.12, mask_rate=0.08, decay=0.05, disturb=0.2, seed=11)
    model = Compressor(config)
    model.load_state_dict(state)
    parts = calibrate.logits(model, tokenizer, held)
    say(f"calibration error {calibrate.error(parts, 1.0, 0.0):.4f} as trained, {calibrate.crossed(parts):.4f} cross-fitted")
    model.load_state_dict(calibrate.fold(state, *calibrate.fit(parts)))
    export.write(state, config, tokenizer, args.out, not args.cased)
    believed = evaluate.probabilities(simulate_int8(export.read(args.out)), tokenizer, held)
    report = {"float32": evaluate.scores(held, evaluate.probabilities(model, tokenizer, held)),
              "int8": evaluate.scores(held, believed), "int8, speakers": evaluate.scores(held, believed, speakers=True)}
    with open(os.path.join(args.work, "report.json"), "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2)
    say(json.dumps({k: {"f1": v["f1"], "f1_domain": v["f1_domain"], "ece": v["ece"]} for k, v in report.items()}))


if __name__ == "__main__":
    main()
