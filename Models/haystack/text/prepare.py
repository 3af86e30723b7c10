"""Makes haystack.txt from alice29.txt of the Canterbury corpus: one line per paragraph, no title page, no line of asterisks.

usage: prepare.py alice29.txt haystack.txt
"""
import re
import sys

source, target = sys.argv[1:]
text = open(source, encoding="ascii").read()
text = text[text.index("CHAPTER I"):text.index("THE END")]
paragraphs = [re.sub(r"\s+", " ", paragraph).strip() for paragraph in re.split(r"\n\s*\n", text)]
open(target, "w", encoding="ascii").write("\n\n".join(p for p in paragraphs if re.search(r"\w", p)) + "\n")
