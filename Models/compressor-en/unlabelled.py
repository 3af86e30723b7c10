"""Passages without labels, for self-training: the mean of two fine-tuned models labels them, and a third learns from these
soft labels beside the people's. Fine-tuning overfits 4 000 passages in five epochs; this is more text in their manner."""

import random

from annotate import words

LENGTHS = range(86, 150)           # words of a passage, as the dialogues with labels have them
PROSE = range(55, 180)


def passages(talk, prose, count, seed=3, share=0.15):
    """`count` passages: runs of turns out of `talk` (lines `Name: words`, in order), and single paragraphs of `prose` for
    `share` of them. -> [{"id", "text", "spans", "labels"}], labels 0."""
    rng, out = random.Random(seed), []
    prose = [p for p in prose if len(p.split()) in PROSE]
    while len(out) < count:
        if prose and rng.random() < share:
            source, text = "prose", rng.choice(prose)
        else:
            source, text, want, at = "talk", "", rng.choice(LENGTHS), rng.randrange(max(1, len(talk) - LENGTHS.stop))
            while len(text.split()) < want and at < len(talk):
                text, at = (text + "\n" + talk[at]).strip(), at + 1
            if text.count("\n") < 3 and rng.random() < 0.8:               # the labelled dialogues change hands seven times
                continue
            if len(text.split()) > LENGTHS.stop + 40:                    # one turn may be a speech
                text = " ".join(text.split(" ")[:LENGTHS.stop + 20])
        spans = words(text)
        out.append({"id": f"{source}/{len(out)}/0", "text": text, "spans": spans, "labels": [0.0] * len(spans)})
    return out


def labelled(rows, probability):
    """`rows` with these keep probabilities as labels."""
    return [dict(row, labels=p.tolist()) for row, p in zip(rows, probability)]
