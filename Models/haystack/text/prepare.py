"""Makes haystack.txt from the output of corpus.py: ASCII paragraphs of prose from the middle of the corpus.

usage: prepare.py corpus.txt haystack.txt
"""
import sys

source, target = sys.argv[1:]
text = open(source, encoding="utf-8").read()
paragraphs = [" ".join(p.split()) for p in text[len(text) // 2:].split("\n\n")]
prose = [p for p in paragraphs if p.isascii() and len(p) > 160 and sum(c.isalpha() or c == " " for c in p) > 0.88 * len(p)]
kept, size = [], 0
for paragraph in prose:
    if size > 160_000:
        break
    kept.append(paragraph)
    size += len(paragraph) + 2
open(target, "w", encoding="ascii").write("\n\n".join(kept) + "\n")
