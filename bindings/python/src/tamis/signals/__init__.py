"""Training signals: which tokens to train on, how much, and what an embedding should say of them (docs/signals.md).

Losses, log-probabilities, masks and labels in, [tokens] or [batch, tokens], numpy or torch, any float type; numpy out, float64.
The number at place t is that of token t; a label of -100 is none.

>>> labels = tamis.signals.sstoken(loss, history_loss, labels, attention)           # ssToken
>>> weights = tamis.signals.cdpo_weights(scores)                                    # cDPO
>>> tamis.signals.CAFT(heads=4).weights(labels, step, steps)                        # CAFT
"""

from ._budgets import Tiers, TokenBudgets, entropy_tiers
from ._keys import KeyReport, decorrelated_rank, icn_first_token, key_diagnostic, key_topm_neighbors
from ._losses import CAFT, END, KEY, NONE, OTHER, tool_call_loss, tool_call_weights, tool_name_keys
from ._preference import Answers, PairLoss, cdpo_loss, cdpo_weights, critical_token, pass_at_k, treg_loss, treg_rewards
from ._selection import (
    TokenScores, ema_update, excess_loss_labels, prompt_attention, prompt_attention_from_keys, select_tokens, sstoken,
    sstoken_scores,
)
from ._vocabulary import (
    FunctionLoss, Overlap, Target, TokenCounts, function_nll, function_tokens, inverse_document_frequency, mix_targets,
    model_target, target_kl, text_overlap, text_target, token_counts,
)

__all__ = [
    "Answers", "CAFT", "END", "FunctionLoss", "KEY", "KeyReport", "NONE", "OTHER", "Overlap", "PairLoss", "Target", "Tiers",
    "TokenBudgets", "TokenCounts", "TokenScores", "cdpo_loss", "cdpo_weights", "critical_token", "decorrelated_rank",
    "ema_update", "entropy_tiers", "excess_loss_labels", "function_nll", "function_tokens", "icn_first_token",
    "inverse_document_frequency", "key_diagnostic", "key_topm_neighbors", "mix_targets", "model_target", "pass_at_k",
    "prompt_attention", "prompt_attention_from_keys", "select_tokens", "sstoken", "sstoken_scores", "target_kl",
    "text_overlap", "text_target", "token_counts", "tool_call_loss", "tool_call_weights", "tool_name_keys", "treg_loss",
    "treg_rewards",
]
