"""Word labels from (passage, compression) pairs: the annotation step of LLMLingua-2 (arXiv 2403.12968, section 3.2).

A word is a maximal run of non-whitespace characters. Two words are equal when their keys are: case folded, punctuation
and symbols stripped from both ends; a word of nothing but punctuation is its own key. The paper compares spaCy lemmas;
surface forms suffice here because a compression only deletes words.

    python annotate.py pairs.jsonl labels.jsonl        # one {"id", "words", "labels"} a line, and a summary on stderr
"""

import argparse
import json
import sys
import unicodedata

WINDOW = 400           # words, the paper's shipped script
MAX_VARIATION = 0.95   # quantile of the variation rate above which a passage is dropped
MAX_GAP = 0.90         # quantile of the alignment gap, taken over what the first filter left


def words(text):
    """Whitespace-separated words of `text` as (start, end) character offsets."""
    spans, start = [], None
    for i, ch in enumerate(text):
        if ch.isspace():
            if start is not None:
                spans.append((start, i))
                start = None
        elif start is None:
            start = i
    if start is not None:
        spans.append((start, len(text)))
    return spans


def key(word):
    """What a word is compared by."""
    edge = lambda ch: unicodedata.category(ch)[0] in "PS"
    lo, hi = 0, len(word)
    while lo < hi and edge(word[lo]):
        lo += 1
    while hi > lo and edge(word[hi - 1]):
        hi -= 1
    return (word[lo:hi] or word).casefold()


def align_window(original, compressed, window=WINDOW):
    """The paper's fuzzy alignment: each compressed word marks the nearest unmarked equal word within `window` words of
    the last match, the later one at equal distance. Takes keys, returns one bool a word of `original`; compressed words
    without a partner are skipped."""
    n, half, prev = len(original), window // 2, 0
    label = [False] * n
    if n == 0:
        return label
    for word in compressed:
        for i in range(window):
            j = min(prev + i, n - 1)
            if original[j] == word and not label[j]:
                label[j] = True
                prev = prev + half if j - prev > half else j
                break
            j = max(prev - i, 0)
            if original[j] == word and not label[j]:
                label[j] = True
                prev = j
                break
    return label


def lines(text, spans):
    """Number of the line each word stands on."""
    out, line, at = [], 0, 0
    for a, _ in spans:
        line += text.count("\n", at, a)
        at = a
        out.append(line)
    return out


def align_exact(original, compressed, line=None):
    """The in-order embedding of `compressed` in `original` (surface words) that reads most like an edit by a person, or
    None if there is none. Cost of an embedding: for every run of g skipped words between two kept ones four times the
    bit length of g, so that words kept together stay together; eight where the second stands on another line but does
    not open it, so that a speaker's name is taken from the turn whose words are kept; one for each word whose surface
    differs (case or edge punctuation). Ties go to the later word, which is what keeps the last of a stammer's
    repetitions. `line`: line number of each original word; one line if not given."""
    line = line or [0] * len(original)
    inside = [j > 0 and line[j] == line[j - 1] for j in range(len(original))]
    keys = [key(w) for w in original]
    places = {}
    for j, k in enumerate(keys):
        places.setdefault(k, []).append(j)
    columns = []          # per compressed word: [(j, cost, index into the previous column)]
    for w in compressed:
        column = []
        for j in places.get(key(w), ()):
            surface = int(original[j] != w)
            if not columns:
                column.append((j, surface, -1))
                continue
            best = None
            for at, (i, cost, _) in enumerate(columns[-1]):
                if i >= j:
                    break
                total = cost + 4 * (j - i - 1).bit_length() + surface + 8 * (line[i] != line[j] and inside[j])
                if best is None or total <= best[0]:
                    best = (total, at)
            if best is not None:
                column.append((j, best[0], best[1]))
        if not column:
            return None
        columns.append(column)
    label = [False] * len(original)
    if not columns:
        return label
    at = min(range(len(columns[-1])), key=lambda a: (columns[-1][a][1], -columns[-1][a][0]))
    for column in reversed(columns):
        j, _, at = column[at]
        label[j] = True
    return label


def annotate(text, compressed, window=WINDOW):
    """-> (word spans of `text`, labels, variation rate, alignment gap)."""
    spans = words(text)
    original = [text[a:b] for a, b in spans]
    kept = [compressed[a:b] for a, b in words(compressed)]
    keys = [key(w) for w in original]
    label = align_exact(original, kept, lines(text, spans))
    if label is None:
        label = align_window(keys, [key(w) for w in kept], window)
    known = set(keys)
    found = sum(key(w) in known for w in kept)
    variation = 1 - found / len(kept) if kept else 1.0
    gap = (found - sum(label)) / max(len(original), 1)   # hitting rate minus matching rate
    return spans, label, variation, gap


def quantile(values, q):
    """Linear-interpolated quantile, numpy's default."""
    ordered = sorted(values)
    h = (len(ordered) - 1) * q
    lo = int(h)
    hi = min(lo + 1, len(ordered) - 1)
    return ordered[lo] + (h - lo) * (ordered[hi] - ordered[lo])


def passages(path, max_variation=MAX_VARIATION, max_gap=MAX_GAP, window=WINDOW):
    """Annotated passages of a JSON-lines file of {"id", "text", "compressed"} that pass both filters: a list of
    {"id", "text", "spans", "labels"}. A passage is dropped when it lies strictly above the quantile, so clean data,
    where the quantile is 0, loses only what is not clean."""
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            spans, label, variation, gap = annotate(pair["text"], pair["compressed"], window)
            if spans:
                rows.append((variation, gap, {"id": pair["id"], "text": pair["text"], "spans": spans, "labels": label}))
    for measure, q in ((0, max_variation), (1, max_gap)):
        if rows:
            limit = quantile([r[measure] for r in rows], q)
            rows = [r for r in rows if r[measure] <= limit]
    return [r[2] for r in rows]


def group(identifier):
    """The meeting or article a passage comes from; splits are made by group."""
    return identifier.rsplit("/", 1)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pairs")
    parser.add_argument("out")
    parser.add_argument("--window", type=int, default=WINDOW)
    args = parser.parse_args()
    rows = passages(args.pairs, window=args.window)
    with open(args.out, "w", encoding="utf-8") as file:
        for r in rows:
            file.write(json.dumps({"id": r["id"], "words": [r["text"][a:b] for a, b in r["spans"]],
                                   "labels": [int(x) for x in r["labels"]]}, ensure_ascii=False) + "\n")
    total, kept = sum(len(r["labels"]) for r in rows), sum(sum(r["labels"]) for r in rows)
    print(f"{len(rows)} passages, {len({group(r['id']) for r in rows})} groups, {total} words, {kept / total:.3f} kept",
          file=sys.stderr)


if __name__ == "__main__":
    main()
