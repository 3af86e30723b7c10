"""Plain English text for pre-training: out of Debian packages, and out of transcripts of talk.

    apt-get download dict-gcide fortunes python3-doc ...
    git clone --depth 1 https://github.com/thechangelog/transcripts
    python corpus.py --out text/ *.deb transcripts      # one text/NAME.txt each, a paragraph a line

Reads HTML and plain text, gzip and dictzip files, the novels of r-cran-janeaustenr and the dialogue of wesnoth-data, and
keeps paragraphs that read as English prose, each once. Of a folder the Markdown files with lines `**Name:** words` are
read, each line a turn `Name: words`.
"""

import argparse
import gzip
import html
import os
import random
import re
import subprocess
import tempfile
import zlib

BLOCK = re.compile(r"</?(?:p|div|li|ul|ol|dl|dt|dd|h\d|tr|td|th|table|br|section|blockquote|body|hr)\b[^>]*>", re.I)
UNREAD = re.compile(r"<(script|style|pre|head|nav|svg|math)\b.*?</\1>|<!--.*?-->", re.I | re.S)
TAG = re.compile(r"<[^>]*>")
COMMON = frozenset("the of and to a in is that it for as with be are this on by you i not or was he his have".split())
SKIP = re.compile(r"/(?:[a-z]{2}(?:[-_][A-Z]{2})?)/|\.(?:[a-z]{2}(?:[-_.][a-zA-Z]{2,5})?)\.(?:html|txt)", re.A)

ENGLISH = re.compile(r"/en(?:-US)?(?=/)|/us(?=/)|\.en(?=\.)")


def blocks(path, data):
    """Paragraphs of one file, rough."""
    name = path.lower()
    if name.endswith(".rdb"):
        return novels(data)
    text = data.decode("utf-8", "replace")
    if name.endswith(".cfg"):
        return [m.replace('""', '"') for m in re.findall(r'(?:message|story|description)\s*=\s*_\s*"((?:[^"]|"")+)"', text)]
    if name.endswith((".html", ".htm", ".xhtml")):
        text = BLOCK.sub("\n\n", UNREAD.sub(" ", text))
        text = html.unescape(TAG.sub("", text)).replace("\u00b6", " ")
    else:
        text = re.sub(r"[{}]", "", text.replace("\n%\n", "\n\n"))
    return re.split(r"\n[ \t]*\n", text)


def novels(data):
    """Strings of an R data base: zlib streams of XDR, a CHARSXP being flags, length, bytes. Empty lines part paragraphs."""
    out, at = [], 0
    while (at := data.find(b"\x78", at)) >= 0:
        try:
            raw = zlib.decompressobj().decompress(data[at:])
        except zlib.error:
            at += 1
            continue
        at += 1
        if len(raw) < 1000:
            continue
        paragraph, position = [], 0
        for m in re.finditer(rb"\x00[\x04\x00]\x00\x09", raw):
            if m.start() < position:
                continue
            n = int.from_bytes(raw[m.end():m.end() + 4], "big")
            if n > 10000:
                continue
            line = raw[m.end() + 4:m.end() + 4 + n].decode("utf-8", "replace")
            position = m.end() + 4 + n
            if line:
                paragraph.append(line)
            elif paragraph:
                out.append(" ".join(paragraph))
                paragraph = []
        out.append(" ".join(paragraph))
    return out


def prose(paragraph):
    """Whether a paragraph is worth reading: some length, letters, ordinary words."""
    found = paragraph.split()
    if not 6 <= len(found) <= 1200:
        return False
    letters = sum(ch.isascii() and ch.isalpha() for ch in paragraph)
    ordinary = sum(w.lower().strip(".,;:!?\"'()") in COMMON for w in found)
    return letters > 0.7 * len(paragraph) and ordinary >= 0.12 * len(found)


def package(deb, out, limit):
    name = os.path.basename(deb).split("_")[0]
    seen, size = set(), 0
    with tempfile.TemporaryDirectory() as root, open(os.path.join(out, name + ".txt"), "w", encoding="utf-8") as file:
        subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
        for folder, _, names in sorted(os.walk(root)):
            for entry in sorted(names):
                path = os.path.join(folder, entry)
                inside = path[len(root):]
                if os.path.islink(path) or size > limit or "changelog" in entry or "copyright" in entry:
                    continue
                kind = re.sub(r"\.(gz|dz)$", "", entry).lower()
                plain = "." not in kind and ("/games/fortunes" in inside or "/share/doc" in inside or "/dict" in inside)
                if not (kind.endswith((".html", ".htm", ".xhtml", ".txt", ".dict", ".rdb", ".cfg")) or plain):
                    continue
                if SKIP.search(ENGLISH.sub("", inside)):
                    continue
                with open(path, "rb") as source:
                    data = source.read()
                if entry.endswith((".gz", ".dz")):
                    data = gzip.decompress(data)
                for paragraph in blocks(inside if not entry.endswith((".gz", ".dz")) else inside[:-3], data):
                    paragraph = re.sub(r"\s+", " ", paragraph).strip()
                    if paragraph not in seen and prose(paragraph):
                        seen.add(paragraph)
                        size += len(paragraph)
                        file.write(paragraph + "\n")
    return name, size


SPEAKER = re.compile(r"\*\*([^*\n]{1,40}):\*\*[ \t]*(\S.*)")
STAMP = re.compile(r"\\?\[(?:\d+:)*\d+(?::\d+)?\\?\]|\(https?://[^)]*\)")


def talk(folder, out, limit):
    """Turns of the Markdown transcripts of a folder, the files in random order until `limit` characters are taken."""
    name, size = os.path.basename(os.path.normpath(folder)), 0
    paths = sorted(os.path.join(root, entry) for root, _, names in os.walk(folder) for entry in names if entry.endswith(".md"))
    random.Random(0).shuffle(paths)
    with open(os.path.join(out, name + ".txt"), "w", encoding="utf-8") as file:
        for path in paths:
            if size > limit:
                break
            with open(path, encoding="utf-8", errors="replace") as source:
                text = source.read()
            last = None
            for line in text.split("\n"):
                match = SPEAKER.match(line)
                if match:
                    last = match[1]
                said = match[2] if match else line
                said = re.sub(r"\s+", " ", re.sub(r"[\\*_`]|[\[\]]", "", STAMP.sub("", said))).strip()
                if last is None or last == "Break" or not said or said.startswith("#"):
                    continue
                line = f"{last}: {said}" if match else said
                size += len(line)
                file.write(line + "\n")
    return name, size


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="+", help="Debian packages, folders of transcripts")
    parser.add_argument("--out", required=True)
    parser.add_argument("--limit", type=int, default=6_000_000, help="characters of one package")
    parser.add_argument("--talk-limit", type=int, default=60_000_000, help="characters of one folder of transcripts")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    for source in args.sources:
        name, size = talk(source, args.out, args.talk_limit) if os.path.isdir(source) else package(source, args.out, args.limit)
        print(f"{name}\t{size}", flush=True)


if __name__ == "__main__":
    main()
