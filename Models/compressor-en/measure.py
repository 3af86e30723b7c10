"""Held-out word F1 of the shipped compressor through the library, as its users get it: from the texts to the kept words.

    python measure.py --data pairs.jsonl [--split-seed 1] [--held-out 0.1]      (needs the tamis package)

A passage's target in tokens is searched until as many words (between white space) stay as in its label. A word stays when a
part of it with a letter or a digit does, or all of it."""

import argparse
import re

import tamis

import annotate
import data


def kept_words(compressor, row, **options):
    """The words of `row` that stay, at the target that keeps most nearly as many as the label. -> [bool]"""
    text, want = row["text"], sum(row["labels"])
    raw, offset = text.encode(), [0]
    for character in text:
        offset.append(offset[-1] + len(character.encode()))
    spans = [(offset[a], offset[b]) for a, b in row["spans"]]
    best, low, high = None, 0, compressor.count(text)
    while low <= high:
        target = (low + high) // 2
        kept, word = [False] * len(spans), 0
        for part in compressor.compress(text, target_token=target, **options).contexts[0].words:
            start, end = int(part["start"]), int(part["end"])
            while word < len(spans) and spans[word][1] <= start:
                word += 1
            if word < len(spans) and part["flags"] & 1 and (re.search(rb"\w", raw[start:end]) or (start, end) == spans[word]):
                kept[word] = True
        if best is None or abs(sum(kept) - want) < abs(sum(best) - want):
            best = kept
        if sum(kept) == want:
            break
        low, high = (target + 1, high) if sum(kept) < want else (low, target - 1)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--held-out", type=float, default=0.1)
    parser.add_argument("--split-seed", type=int, default=1)
    args = parser.parse_args()
    _, held = data.split(annotate.passages(args.data), args.held_out, args.split_seed)
    compressor = tamis.PromptCompressor()
    for name, options in (("plain", {}), ("speakers", {"protect": ["speakers"]})):
        hit = kept = label = 0
        for row in held:
            words = kept_words(compressor, row, **options)
            hit += sum(k and y for k, y in zip(words, row["labels"]))
            kept, label = kept + sum(words), label + sum(row["labels"])
        print(f"{name}: word F1 {2 * hit / (kept + label):.4f}, {kept} words kept, {int(label)} in the labels")


if __name__ == "__main__":
    main()
