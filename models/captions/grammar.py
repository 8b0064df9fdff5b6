"""Grammar-constrained decoding: masks the tokens that a JSON grammar does not allow."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any


class GrammarMask:
    """Logits processor and stopping criterion that enforce a grammar on a batch.

    For `generate` of `transformers`.

    The mask of the next token is computed in a thread, for all rows at once, during the model's forward pass: for
    strings of bounded length it takes as long as that pass.

    Args:
      grammar: compiled by `xgrammar`.
      rows: batch size.
      executor: computes the masks.
    """

    def __init__(self, grammar: Any, rows: int, executor: Executor) -> None:
        import torch
        import xgrammar

        self._torch, self._xgrammar, self._executor = torch, xgrammar, executor
        self._matchers = [xgrammar.GrammarMatcher(grammar) for _ in range(rows)]
        self._batch = xgrammar.BatchGrammarMatcher()
        self._bits = xgrammar.allocate_token_bitmask(rows, grammar.tokenizer_info.vocab_size)
        self._filled: Future[None] = executor.submit(self._fill)

    def apply(self, tokens: Any, logits: Any) -> Any:
        """Logits processor: (rows, vocabulary) logits, -inf for tokens that are not allowed."""
        self._filled.result()
        self._xgrammar.apply_token_bitmask_inplace(logits, self._bits.to(logits.device))
        return logits

    def advance(self, tokens: Any, logits: Any, **_: Any) -> Any:
        """Stopping criterion that never stops: advances the grammar by the last of (rows, length) tokens."""
        self._filled = self._executor.submit(self._advance, tokens[:, -1].tolist())
        return self._torch.zeros(len(tokens), dtype=self._torch.bool, device=tokens.device)

    def _advance(self, tokens: list[int]) -> None:
        for matcher, token in zip(self._matchers, tokens, strict=True):
            if not matcher.is_terminated() and not matcher.accept_token(token):
                raise RuntimeError(f"the grammar of an answer does not allow token {token}, which was chosen")
        self._fill()

    def _fill(self) -> None:
        """Fills the mask of all rows whose grammar has not terminated."""
        rows = [row for row, matcher in enumerate(self._matchers) if not matcher.is_terminated()]
        if rows:
            self._batch.batch_fill_next_token_bitmask([self._matchers[row] for row in rows], self._bits, rows)
