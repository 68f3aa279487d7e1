"""What a run or the doctor found, as tables or as one JSON object on stdout."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from factory.captions.prices import find_prices
from factory.console.log import note
from factory.console.say import print_facts, print_json, print_table, printable, say
from factory.doctor.finding import Finding, Level
from factory.errors import InputError
from factory.ledger.status import Status
from factory.work.job import JobResult
from schemas.captions import CAPTIONS
from schemas.ledger.layout import GENERATE
from schemas.ledger.tally import KIND_NOT_GIVEN

MARKS = {
    "truncated": "prompts cut",
    "prompt_tokens": "tokens asked",
    "completion_tokens": "tokens given",
    "estimated_tokens": "of them estimated",
}
"""What is noted of outcomes, as a person reads it."""


def print_status(status: Status) -> None:
    """A run's state as tables, on stdout."""
    counts, tally, sealed = status.counts, status.tally, status.sealed
    first, is_pairs = next(iter(counts)), status.run.layout == GENERATE
    outcomes = f"{status.run.layout.outcome}s"
    rows = rows_per_accepted(status) if is_pairs else None
    failed = status.failed_units
    print_facts(
        {
            "run": status.run.uri,
            "units": f"{status.committed_units} of {status.units} committed",
            outcomes: status.outcomes,
            **counts,
            first: f"{counts[first]} ({_share(counts):.1%})",
            "failed units": failed and f"{failed}; {status.run.layout.stage} --retry-failed",
            **{MARKS.get(n, n): tally.marks.get(n, 0) for n in status.run.layout.marks},
            **({"rows per accepted pair": rows and f"{rows:.0f}"} if is_pairs else {}),
            **({"money": _in_words(money)} if (money := money_of(status)) is not None else {}),
            "sealed": sealed
            and f"{'partial' if sealed['partial'] else 'whole'}, {sealed['manifest_hash'][:16]}",
        }
    )
    by_kind = [
        (kind, sum(of.values()), of[first], f"{_share(of):.1%}")
        for kind, of in sorted(tally.by_kind.items(), key=lambda item: -sum(item[1].values()))
    ]
    if is_pairs:
        print_table(("edit kind", outcomes, first, "acceptance"), by_kind)
        title = "rejected by (several gates may)"
    else:
        if set(tally.by_kind) != {KIND_NOT_GIVEN}:
            print_table(("kind", outcomes, first, "share"), by_kind)
        title = "reason"
    if tally.reasons:
        print_table((title, outcomes), list(tally.reasons.items()))


def rows_per_accepted(status: Status) -> float | None:
    """UNet forwards per pair: steps x 4 per candidate; null without pairs."""
    accepted = status.counts["accepted"]
    rows: int = 4 * status.run.recipe.steps * status.outcomes
    return rows / accepted if accepted else None


def money_of(status: Status) -> float | None:
    """What a run's tokens cost by the prices that its newest start was told; None where none was."""
    prices = find_prices(status.run) if status.run.layout.stage == CAPTIONS.stage else None
    return prices.money(status.tally.marks) if prices else None


def _in_words(money: float) -> str:
    return f"{money:.2f}" if money >= 1 else f"{money:.2g}"


def status_json(status: Status) -> dict[str, Any]:
    """For machines."""
    plain = status.as_json()
    if status.run.layout == GENERATE:
        plain["rows_per_accepted"] = rows_per_accepted(status)
    if status.run.layout.stage == CAPTIONS.stage:
        plain["money"] = money_of(status)
    return plain


def _share(counts: Mapping[str, int]) -> float:
    """Of the first of several counts, 0..1; 0 where there are none."""
    return next(iter(counts.values())) / (sum(counts.values()) or 1)


def print_result(status: Status, result: JobResult, as_json: bool) -> None:
    """How a start of the main job ended, on stdout."""
    level = "info" if result.exit_code == 0 else "warning"
    if as_json:
        # It is on stdout already.
        note(result.message, level)
        ended = {"exit_code": result.exit_code, "message": result.message}
        problems = [f"unit {p.unit}: {p.message}" for p in result.problems]
        print_json(status_json(status) | ended | {"problems": problems})
    else:
        print_status(status)
        say(result.message, level)


def print_findings(findings: Iterable[Finding], as_json: bool) -> int:
    """Each as it comes, or all as one object; returns the exit code: 2 where a check failed."""
    seen: list[Finding] = []
    for finding in findings:
        seen.append(finding)
        if not as_json:
            print(_finding_line(finding.level, finding.check, finding.found), flush=True)
            if finding.remedy:
                print(_finding_line("", "", f"-> {finding.remedy}"), flush=True)
    counts = {level: sum(one.level == level for one in seen) for level in Level}
    code = InputError.exit_code if counts[Level.FAILED] else 0
    if as_json:
        print_json({"exit_code": code, "counts": counts, "checks": [asdict(one) for one in seen]})
    else:
        verdict = "not ready" if code else "ready"
        print(f"{verdict}: {', '.join(f'{n} {level}' for level, n in counts.items() if n)}")
    return code


def _finding_line(level: str, check: str, words: str) -> str:
    return f"{level:<11}  {check:<14}  {printable(words)}"
