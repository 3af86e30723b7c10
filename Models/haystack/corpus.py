"""Extracts the English prose of the Python documentation, the training text of the haystack model.

Input: the reStructuredText sources in the Debian package python3-doc (PSF licence).
Output: one text file, a paragraph per line, a blank line between paragraphs; files in sorted order, so that the same package
gives the same bytes.

usage: apt-get install python3-doc && python3 corpus.py CORPUS.txt [--docs FOLDER]
"""
import argparse
import pathlib
import re

# Directives whose indented body is prose about the thing they name. The body of any other is code, a table, an index or a comment.
PROSE_DIRECTIVES = set("""function class method staticmethod classmethod decorator attribute data exception module describe envvar
    option note warning seealso tip important versionadded versionchanged deprecated deprecated-removed opcode glossary impl-detail
    c:function c:type c:macro c:var c:member c:struct cmdoption admonition 2to3fixer pdbcommand""".split())


def plain(text):
    """A paragraph without inline markup."""
    text = re.sub(r":[\w:+-]+:`[!~]?([^`<]+?)(\s*<[^`>]*>)?`", r"\1", text)  # :role:`title <target>` -> title
    text = re.sub(r"`([^`<]+?)\s*<[^`>]*>`_+", r"\1", text)  # `title <url>`_ -> title
    text = re.sub(r"``([^`]*)``", r"\1", text)
    text = re.sub(r"(?<![\w*])\*\*?([^*\s][^*]*)\*\*?(?![\w*])", r"\1", text)  # *emphasis* and **strong**
    text = re.sub(r"(?<=\w)__?(?=[\s,.;:)]|$)", "", text)  # reference_ -> reference
    text = re.sub(r"[`|]", "", text).replace("\\", "")
    text = re.sub(r"^([*+-]|#\.|\d+\.|\(?\w\))\s+", "", text.strip())  # the bullet of a list item
    return re.sub(r"\s+", " ", text).strip()


def is_prose(text):
    """Enough words, hardly any punctuation: no headings, tables, signatures or doctests."""
    letters = sum(ch.isalpha() or ch in " ,.'" for ch in text)
    return len(text) >= 60 and not text.startswith((">>>", ":")) and letters > 0.9 * len(text) and text.rstrip(":)\"'")[-1:] in ".?!:;"


def paragraphs(source):
    """Yields the prose paragraphs of one reStructuredText file."""
    skip_deeper_than = None  # inside a literal block or a directive that is not prose: everything indented more than this
    for block in re.split(r"\n\s*\n", source.expandtabs()):
        lines = [line for line in block.splitlines() if line.strip()]
        if not lines:
            continue
        indent = len(lines[0]) - len(lines[0].lstrip())
        if skip_deeper_than is not None and indent > skip_deeper_than:
            continue
        skip_deeper_than = None
        if lines[0].lstrip().startswith(".. "):
            directive = re.match(r"\s*\.\. ([\w:-]+?)::", lines[0])
            if directive is None or directive[1] not in PROSE_DIRECTIVES:
                skip_deeper_than = indent
                continue
            body = [line for line in lines[1:] if len(line) - len(line.lstrip()) > indent and line.lstrip()[:1] != ":"]
            text = " ".join(body) if directive[1].startswith(("version", "deprecated", "note", "warning")) else ""
        else:
            text = " ".join(line.strip() for line in lines)
        if text.endswith("::"):
            skip_deeper_than, text = indent, text[:-1]
        text = plain(text)
        if is_prose(text):
            yield text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--docs", default="/usr/share/doc/python3.11/html/_sources", help="folder of the .rst.txt files")
    a = parser.parse_args()
    files = sorted(pathlib.Path(a.docs).rglob("*.rst.txt"))
    if not files:
        parser.error(f"no .rst.txt file under {a.docs}: install the package python3-doc")
    found = [p for file in files for p in paragraphs(file.read_text(encoding="utf-8"))]
    pathlib.Path(a.output).write_text("\n\n".join(found) + "\n", encoding="utf-8")
    print(f"{len(files)} files, {len(found)} paragraphs, {sum(map(len, found)):,} characters")


if __name__ == "__main__":
    main()
