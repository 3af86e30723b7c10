"""tamis.integrations.transformers: masks of transformers as rules, and the user's own."""

import pytest
import tamis.integrations.transformers as tt
import torch
from tamis.integrations.transformers.masks import MaskRule, Part, RuleMask, make_mask, read_table
from transformer_models import both, build, difference, prompts
from transformers import masking_utils as mu


def table_of(rule, batch, q_len, k_len):
    """A rule as booleans, by its definition."""
    seen = torch.zeros(batch, 1, q_len, k_len, dtype=torch.bool)
    for b in range(batch):
        part = rule.part(b)
        for i in range(part.row, part.row + part.n_rows):
            at = part.end - part.n_rows + i - part.row
            for j in range(part.start, part.end):
                seen[b, 0, i, j] = (not rule.causal or j <= at) and (rule.window is None or j > at - rule.window)
    return seen


MASKS = {
    "causal": dict(mask_function=mu.causal_mask_function),
    "window": dict(mask_function=mu.sliding_window_causal_mask_function(5), local_size=5),
    "full": dict(mask_function=mu.bidirectional_mask_function, allow_is_causal_skip=False),
    "chunks": dict(mask_function=mu.chunked_causal_mask_function(5, torch.tensor([0, 3])), local_size=5),
    "causal, asked as a table": dict(mask_function=mu.causal_mask_function, allow_is_causal_skip=False),
    "window, asked as a table": dict(mask_function=mu.sliding_window_causal_mask_function(5), local_size=5, allow_is_causal_skip=False),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("q_len, k_len, q_offset, kv_offset", [
    (1, 1, 0, 0), (12, 12, 0, 0), (4, 16, 12, 0), (1, 16, 15, 0), (6, 20, 0, 0), (1, 9, 20, 12), (7, 11, 9, 5), (3, 4, 1, 0)])
@pytest.mark.parametrize("padding", [None, (0, 0), (0, 3), (2, 4), (0, "right"), (0, "hole"), (0, "all")], ids=str)
def test_rules_are_the_tables_of_transformers(name, q_len, k_len, q_offset, kv_offset, padding):
    mask = None
    if padding is not None:
        mask = torch.ones(2, q_offset + q_len, dtype=torch.bool)
        for b, pad in enumerate(padding):
            if pad == "right":
                mask[b, -2:] = False
            elif pad == "hole":
                mask[b, 1:2] = False
            elif pad == "all":
                mask[b] = False
            else:
                mask[b, :pad] = False
    asked = dict(batch_size=2, q_length=q_len, kv_length=k_len, q_offset=q_offset, kv_offset=kv_offset, attention_mask=mask, **MASKS[name])
    theirs = mu.sdpa_mask(**{**asked, "allow_is_causal_skip": False})
    made = make_mask(**asked)
    assert made.shape == theirs.shape
    ours = table_of(made.rule, *made.shape[:1], q_len, k_len) if isinstance(made, RuleMask) else made
    # Queries that are padding or see nothing attend nothing here, whatever the table says of them.
    real = theirs.any(-1)
    if mask is not None and name != "full":
        real = real & mask[:, q_offset : q_offset + q_len][:, None]
    assert torch.equal(ours[real], theirs[real])
    if padding in (None, (0, 0), (0, 3), (2, 4)) and name != "chunks":
        assert isinstance(made, RuleMask)


def test_the_first_key_of_a_rule_is_the_texts_only_where_it_is():
    mask = torch.ones(2, 30, dtype=torch.bool)
    mask[1, :26] = False
    window = dict(mask_function=mu.sliding_window_causal_mask_function(5), local_size=5)
    rule = make_mask(2, 4, 8, 26, 22, attention_mask=mask, **window).rule
    assert [p.origin for p in rule.parts] == [False, True]
    assert make_mask(2, 4, 8, 26, 22, **window).rule.parts[0].origin is False
    assert make_mask(2, 30, 30, attention_mask=mask, **window).rule.parts[0].origin is True


def test_tables_that_are_no_rule():
    causal = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    assert read_table(causal) == MaskRule(True, None, (Part(0, 6, 0, 6),))
    holed = causal.clone()
    holed[..., 4, 2] = False
    assert read_table(holed) is None
    assert read_table(torch.where(causal, 0.5, -torch.inf)) is None
    assert read_table(torch.where(causal, 0.0, -torch.inf)) == read_table(causal)
    heads = causal.repeat(1, 2, 1, 1)
    assert read_table(heads) == read_table(causal)
    heads[0, 1, 5, 0] = False
    assert read_table(heads) is None


def test_a_rule_is_no_table():
    made = make_mask(1, 4, 4)
    assert made.contiguous() is made and made.shape == (1, 1, 4, 4)
    for use in (lambda: made[0], lambda: made & made, lambda: made.float(), lambda: torch.where(made, 0.0, 1.0)):
        with pytest.raises(ValueError, match="rule, not a table"):
            use()


@pytest.mark.parametrize("additive", [False, True], ids=["bool", "float"])
def test_masks_of_the_user(llama, additive, recwarn):
    """A 4-dimensional mask that is a rule is served; one that is not goes to torch's attention with a warning."""
    ids, _ = prompts(2, 40)
    seen = torch.ones(2, 1, 40, 40, dtype=torch.bool).tril()
    seen[1, :, :, :9] = False
    real = seen.any(-1)[:, 0]
    lowest = torch.finfo(torch.float32).min

    def mask(of):
        return torch.where(of, 0.0, lowest) if additive else of

    theirs, ours = both(llama, lambda m: m(ids, attention_mask=mask(seen)).logits)
    assert difference(theirs, ours, real) < 1e-4 and not recwarn.list
    seen[0, 0, 20:, 5] = False
    tt.attention._warned.clear()
    llama.set_attn_implementation("sdpa")
    with torch.inference_mode():
        theirs = llama(ids, attention_mask=mask(seen)).logits
        llama.set_attn_implementation("tamis")
        tt.configure(llama)
        with pytest.warns(UserWarning, match="neither causal"):
            ours = llama(ids, attention_mask=mask(seen)).logits
        again = llama(ids, attention_mask=mask(seen)).logits
    assert difference(theirs, ours, real) < 1e-5 and torch.equal(ours, again)
    assert {call.method for call in tt.statistics(llama)} == {"torch"}


@pytest.mark.filterwarnings("ignore:attention_mask is neither")
def test_a_mask_of_the_user_with_a_soft_cap():
    gemma = build("gemma2")
    ids, mask = prompts(2, 40, (0, 6))
    mask[0, 11:13] = 0
    theirs, ours = both(gemma, lambda m: m(ids, attention_mask=mask).logits)
    assert difference(theirs, ours, mask) < 1e-4
