"""Answers that a grammar holds to their form, token by token."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any


class GrammarMask:
    """Rules out tokens that a grammar does not allow next, in a batch of answers to `generate` of `transformers`.

    What may follow a token is found out in a thread, for all answers at once, while the model computes what is likely
    to follow it: for a text of bounded length that takes as long as the model itself.

    Args:
      grammar: compiled by `xgrammar`.
      rows: how many answers there are.
      threads: where it is found out.
    """

    def __init__(self, grammar: Any, rows: int, threads: Executor) -> None:
        import torch
        import xgrammar

        self._torch, self._xgrammar, self._threads = torch, xgrammar, threads
        self._matchers = [xgrammar.GrammarMatcher(grammar) for _ in range(rows)]
        self._batch = xgrammar.BatchGrammarMatcher()
        self._bits = xgrammar.allocate_token_bitmask(rows, grammar.tokenizer_info.vocab_size)
        self._filled: Future[None] = threads.submit(self._fill)

    def apply(self, tokens: Any, logits: Any) -> Any:
        """A logits processor: takes (rows, vocabulary) logits and makes those of tokens that are ruled out -inf."""
        self._filled.result()
        self._xgrammar.apply_token_bitmask_inplace(logits, self._bits.to(logits.device))
        return logits

    def follow(self, tokens: Any, logits: Any, **_: Any) -> Any:
        """A stopping criterion, which stops nothing: takes (rows, length) tokens, of which the last are new."""
        self._filled = self._threads.submit(self._advance, tokens[:, -1].tolist())
        return self._torch.zeros(len(tokens), dtype=self._torch.bool, device=tokens.device)

    def _advance(self, tokens: list[int]) -> None:
        for matcher, token in zip(self._matchers, tokens, strict=True):
            if not matcher.is_terminated() and not matcher.accept_token(token):
                raise RuntimeError(f"the grammar of an answer does not allow token {token}, which was chosen")
        self._fill()

    def _fill(self) -> None:
        """Bits of all answers that have not come to their end."""
        rows = [row for row, matcher in enumerate(self._matchers) if not matcher.is_terminated()]
        if rows:
            self._batch.batch_fill_next_token_bitmask([self._matchers[row] for row in rows], self._bits, rows)
