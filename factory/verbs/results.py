"""What a run or the doctor found, as tables or as one JSON object on stdout."""

from collections.abc import Iterable
from dataclasses import asdict

from factory.console.say import print_facts, print_json, print_table, printable, say
from factory.doctor.finding import Finding, Level
from factory.errors import InputError
from factory.ledger.status import Status
from factory.work.job import JobResult


def print_status(status: Status) -> None:
    """A run's state as tables, on stdout."""
    rows = status.rows_per_accepted
    sealed = status.sealed
    print_facts(
        {
            "run": status.uri,
            "units": f"{status.committed_units} of {status.units} committed",
            "candidates": status.counts.candidates,
            "accepted": f"{status.counts.accepted} ({status.counts.acceptance:.1%})",
            "rejected": status.counts.rejected,
            "failed": status.counts.failed,
            "failed units": status.failed_units
            and f"{status.failed_units}; generate --retry-failed",
            "borderline": status.borderline,
            "prompts cut": status.truncated,
            "rows per accepted pair": None if rows is None else f"{rows:.0f}",
            "sealed": sealed
            and f"{'partial' if sealed['partial'] else 'whole'}, {sealed['manifest_hash'][:16]}",
        }
    )
    by_kind = [
        (kind, counts.candidates, counts.accepted, f"{counts.acceptance:.1%}")
        for kind, counts in sorted(status.by_kind.items(), key=lambda item: -item[1].candidates)
    ]
    print_table(("edit kind", "candidates", "accepted", "acceptance"), by_kind)
    rejections = [(gate, count) for gate, count in status.rejections.items()]
    if rejections:
        print_table(("rejected by (several gates may)", "candidates"), rejections)


def print_result(status: Status, result: JobResult, as_json: bool) -> None:
    """How a start of the main job ended, on stdout."""
    if as_json:
        ended = {"exit_code": result.exit_code, "message": result.message}
        problems = [f"unit {p.unit}: {p.message}" for p in result.problems]
        print_json(status.as_json() | ended | {"problems": problems})
    else:
        print_status(status)
        say(result.message)


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
