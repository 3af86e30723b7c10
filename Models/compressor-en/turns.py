"""Dialogue passages varied for training.

The compressions follow one rule for speakers: a turn's `Name:` stays when words of the turn stay and the last turn that
kept any was someone else's (99 % of the turns of the training data). It spans the whole passage, so few labelled
meetings teach it badly. Here turns are dropped, swapped between speakers, renamed and joined over passage borders, and
the labels of the names are computed anew; the words of a turn keep theirs. Labels may be soft: above 0.5 is kept."""

import re

from annotate import group, words

NAME = re.compile(r"[^\s:][^:\n]{0,31}:(?=\s|$)")
NAMES = """Alice Bob Chair Speaker Moderator Interviewer Guest Host Customer Agent Teacher Student Doctor Patient Judge
Clerk Minister Senator User Assistant Anna Ben Carla David Emma Frank Grace Hassan Irene Jack Kim Lena Maria Nils Olga Paul
Quinn Rosa Sam Tom Uma Victor Wei Xavier Yasmin Zoe Mr\u00a0Smith Mrs\u00a0Jones Dr\u00a0Brown Professor\u00a0Lee Q A""".split()


class Turn:
    """name: words of `Name:` or []; words: [(word, label)]; `named`: labels of the name."""

    def __init__(self, name, spoken, named):
        self.name, self.spoken, self.named = name, spoken, named


def parse(row):
    """-> [Turn], or None for a passage that is no dialogue."""
    spans, labels, at, turns, named = row["spans"], row["labels"], 0, [], 0
    start = 0
    for line in row["text"].split("\n"):
        stop = start + len(line)
        first = at
        while at < len(spans) and spans[at][0] < stop:
            at += 1
        if at > first:
            match = NAME.match(line)
            head = sum(b <= start + match.end() for _, b in spans[first:at]) if match else 0
            if head > 4:
                head = 0
            text = [row["text"][a:b] for a, b in spans[first:at]]
            turns.append(Turn(text[:head], list(zip(text[head:], labels[first + head:at])), labels[first:first + head]))
            named += head > 0
        start = stop + 1
    return turns if named and named >= len(turns) - 1 else None


def relabel(turns):
    """Applies the rule."""
    last = None
    for turn in turns:
        kept = any(label > 0.5 for _, label in turn.spoken)
        if turn.name:
            turn.named = [kept and turn.name != last] * len(turn.name)
        if kept:
            last = turn.name
    return turns


def rebuild(identifier, turns):
    text = "\n".join(" ".join(t.name + [w for w, _ in t.spoken]) for t in turns)
    labels = [label for t in turns for label in list(t.named) + [x for _, x in t.spoken]]
    return {"id": identifier, "text": text, "spans": words(text), "labels": labels}


def vary(rows, rng, rename=0.35, disturb=0.35, join=0.25):
    """One epoch's version of the passages."""
    parsed = [parse(r) for r in rows]
    people = sorted({tuple(t.name) for turns in parsed if turns for t in turns if t.name})
    people += [(f"{n.replace(chr(160), ' ')}:",) if chr(160) not in n else tuple(f"{n}:".split("\u00a0")) for n in NAMES]
    idle = [t.spoken for turns in parsed if turns for t in turns if t.name and not any(x > 0.5 for _, x in t.spoken)]
    out, i = [], 0
    while i < len(rows):
        row, turns = rows[i], parsed[i]
        i += 1
        more = rng.choice((1, 1, 2, 3)) if rng.random() < join else 0
        if turns is None:
            while more and i < len(rows) and parsed[i] is None and group(rows[i]["id"]) == group(row["id"]):
                base = len(row["text"]) + 1
                row = {"id": row["id"], "text": row["text"] + "\n" + rows[i]["text"], "labels": row["labels"] + rows[i]["labels"],
                       "spans": row["spans"] + [(a + base, b + base) for a, b in rows[i]["spans"]]}
                i, more = i + 1, more - 1
            out.append(row)
            continue
        turns = [Turn(list(t.name), list(t.spoken), t.named) for t in turns]
        while more and i < len(rows) and parsed[i] is not None and group(rows[i]["id"]) == group(row["id"]):
            turns += [Turn(list(t.name), list(t.spoken), t.named) for t in parsed[i]]
            i, more = i + 1, more - 1
        if rng.random() < disturb:
            here = sorted({tuple(t.name) for t in turns if t.name})
            kept = []
            for t in turns:
                if rng.random() < 0.15:
                    continue
                if t.name and rng.random() < 0.3:
                    t.name = list(rng.choice(here))
                kept.append(t)
                if idle and rng.random() < 0.15:
                    kept.append(Turn(list(rng.choice(here)), list(rng.choice(idle)), []))
            turns = kept or turns
        if rng.random() < rename:
            new = {}
            for t in turns:
                if t.name:
                    new.setdefault(tuple(t.name), list(people[rng.randrange(len(people))]))
                    t.name = new[tuple(t.name)]
        out.append(rebuild(row["id"], relabel(turns)))
    return out
