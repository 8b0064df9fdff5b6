"""Summary of a finished run: the funnel, the accounting, where the results are."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from beam_pipeline.job import RunResult
from explore.outputs import read_table

MAX_FAILURES_SHOWN = 10
MAX_REASONS_SHOWN = 8


def print_summary(result: RunResult, console: Console) -> None:
    """Prints funnel, most frequent reasons, failures, accounting and output folder of a run."""
    accounting = result.accounting
    table = Table("", "count", title="funnel", title_justify="left", show_header=False)
    table.add_row("videos", str(accounting.videos))
    table.add_row("  done", str(accounting.videos_done))
    table.add_row("  failed", str(accounting.videos_failed))
    if accounting.inputs_skipped:
        table.add_row("inputs listed twice, skipped", str(accounting.inputs_skipped))
    table.add_row("shots", str(accounting.shots))
    table.add_row("clips found", str(accounting.clips))
    table.add_row("  kept", str(accounting.clips_kept))
    for reason, count in _missing_captions(result.output_uri):
        table.add_row(f"    without a caption: {reason}", str(count))
    table.add_row("  rejected", str(accounting.clips_rejected))
    for reason, count in _reasons(result.output_uri):
        table.add_row(f"    {reason}", str(count))
    table.add_row("  failed", str(accounting.clips_failed))
    console.print(table)
    for failure in read_table(result.output_uri, "failures").slice(0, MAX_FAILURES_SHOWN).to_pylist():
        console.print(
            f"{failure['item']} {failure['source_uri']}: {failure['error_class']}: {failure['message']}",
            markup=False,
            highlight=False,
        )
    if result.damaged_results:
        console.print(f"damaged in the store, computed anew: {result.damaged_results}", highlight=False)
    problems = accounting.problems()
    verdict = f"totals do not balance: {'; '.join(problems)}" if problems else "totals balance"
    console.print(f"accounting: {verdict}; {result.seconds:.1f} s", highlight=False)
    console.print(f"results: {result.output_uri}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report:  {result.report_path}", markup=False, highlight=False, soft_wrap=True)


def _missing_captions(output_uri: str) -> list[tuple[str, int]]:
    """Counts of kept clips without a caption by class of reason."""
    reasons = read_table(output_uri, "clips", ["caption_reason"])["caption_reason"].drop_null().to_pylist()
    return Counter(reason.partition(":")[0] for reason in reasons).most_common(MAX_REASONS_SHOWN)


def _reasons(output_uri: str) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for reasons in read_table(output_uri, "clips", ["rejection_reasons"])["rejection_reasons"].to_pylist():
        for reason in reasons or ():
            counts[reason] = counts.get(reason, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_REASONS_SHOWN]
