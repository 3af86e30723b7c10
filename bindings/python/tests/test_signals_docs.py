"""The snippets of docs/signals.md run, one after another."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "signals.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the page is not here")
def test_snippets():
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)
    assert len(snippets) >= 10
    names = {}
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    assert len(names["used"]) == 3
