"""What an evaluation leaves beside its run, for people: table, curve, report, a sheet of edits."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from PIL import Image

from factory.ledger.book import Book
from factory.ledger.run import Run
from factory.ledger.units.attempts import find_commit, whole_commit
from factory.ledger.units.commits import Commit
from factory.miniature.oracle import ORACLE_VERSION, Judgement
from factory.pairs.sheet import cell, grid, prompt_lines
from factory.pictures import Picture
from factory.storage.patience import patiently
from factory.work.job import JobResult
from schemas.evaluation import Entrant, EvaluationItem, EvaluationRecipe
from trainer.evaluation.held_out import Pictures, Task, Unreadable
from trainer.evaluation.report import NAMES
from trainer.evaluation.studios import Studios
from trainer.miniature.tasks import EditTask, JudgedEdit, edit_figures, edit_tasks

ON_SHEET = 24
"""Pictures."""
CELLS = 8
"""Pictures beside each other."""
SHEET = "sheet.png"
ENVIRONMENTS = "environments.json"


def commits_of(book: Book) -> Iterator[Commit]:
    """All that count, in unit order."""
    for line in book.lines():
        yield whole_commit(book.run, find_commit(book.run, book.plan, line.unit, line))


def put(run: Run, name: str, data: bytes) -> None:
    """Leave a file beside a run."""
    patiently(lambda: run.place.put(name, data))


def write_results(result: JobResult) -> dict[str, Any]:
    """Copy what the manifest names to plain names beside the run; returns the report.

    On what the edits were made stands in `environments.json`, since it is no part of what was found.
    """
    run, sealed = result.book.run, result.sealed
    assert sealed is not None
    report: dict[str, Any] = {}
    for name, one in zip(NAMES, sealed.objects, strict=True):
        data = patiently(lambda key=one.key: run.store.get(key))  # type: ignore[misc]
        put(run, name, data)
        if name == "report.json":
            report = json.loads(data)
    units: dict[str, int] = {}
    for commit in commits_of(result.book):
        made = json.dumps(commit.record.environment, sort_keys=True)
        units[made] = units.get(made, 0) + 1
    found = [{"units": count, **json.loads(made)} for made, count in sorted(units.items())]
    put(run, ENVIRONMENTS, (json.dumps(found, indent=1) + "\n").encode())
    return report


def write_judged(result: JobResult, sampler: Mapping[str, Any]) -> dict[str, Any]:
    """Of one editor of the miniature: `edits.jsonl`, and last `evaluation.json`, which is returned."""
    run = result.book.run
    recipe = EvaluationRecipe.known(run.recipe)
    rows = [row for commit in commits_of(result.book) for row in commit.rows]
    first = recipe.held_out.first
    tasks, judged = edit_tasks(first + len(rows))[first:], [judged_of(row) for row in rows]
    lines = [json.dumps(_line(task, one)) for task, one in zip(tasks, judged, strict=True)]
    put(run, "edits.jsonl", "".join(f"{line}\n" for line in lines).encode())
    report = {
        **edit_figures(tasks, judged),
        "sampler": dict(sampler),
        "oracle_version": ORACLE_VERSION,
        "files": recipe.entrants[0].settings.model.files,
    }
    # Last, and whole: who finds it finds the others, too.
    put(run, "evaluation.json", (json.dumps(report, indent=1) + "\n").encode())
    return report


def judged_of(row: Mapping[str, Any]) -> JudgedEdit:
    """The oracle's word on an outcome; an edit that failed shows nothing."""
    if row["verdict"] == "failed":
        nothing = Judgement(edit_done=False, rest_kept=False, place_kept=False)
        return JudgedEdit(judgement=nothing, identity=False, unreadable=True)
    judgement = Judgement(
        edit_done=row["edit_done"], rest_kept=row["rest_kept"], place_kept=row["place_kept"]
    )
    return JudgedEdit(judgement=judgement, identity=row["unchanged"], unreadable=row["unreadable"])


def _line(task: EditTask, one: JudgedEdit) -> dict[str, Any]:
    return {
        "instruction": task.instruction,
        "original_prompt": task.original_prompt,
        "edited_prompt": task.edited_prompt,
        "edit_kind": task.edit_kind,
        **asdict(one.judgement),
        "identity": one.identity,
        "unreadable": one.unreadable,
    }


def verdict(one: JudgedEdit) -> str:
    """In words."""
    if one.judgement.true:
        return "edited, the rest kept"
    if one.unreadable:
        return "unreadable"
    if one.identity:
        return "not edited"
    return "edited, not all else kept" if one.judgement.edit_done else "not as asked"


def middle(entrant: Entrant) -> dict[str, float | None]:
    """The setting in the middle of an entrant's curve."""
    return entrant.points[len(entrant.points) // 2]


def edited_again(
    recipe: EvaluationRecipe,
    items: Sequence[EvaluationItem],
    pictures: Pictures,
    studios: Studios,
) -> Iterator[tuple[EvaluationItem, Picture, Picture | None]]:
    """Each item's picture and its edit, null where there is none: of the same seeds, so the same pixels but
    for the last bits where batches, threads or the device differ.

    Pictures that cannot be opened are passed over.
    """
    for entrant in recipe.entrants:
        asked = []
        for item in (one for one in items if one.entrant == entrant.name):
            try:
                asked.append((item, pictures.open(item)))
            except Unreadable:
                continue
        wanted = [(item.asked(entrant.edits.editor), before) for item, before in asked]
        with studios.of(entrant) as editors:
            for place, edited in editors.edit(wanted):
                yield *asked[place], edited.picture
            del editors


def sheet(
    recipe: EvaluationRecipe,
    tasks: Sequence[Task],
    items: Sequence[EvaluationItem],
    pictures: Pictures,
    studios: Studios,
    words: Mapping[int, str],
) -> bytes:
    """A PNG: each picture beside its edits by all entrants; `words` stand below, by its number."""
    shown: dict[int, dict[str, Picture]] = {}
    for item, before, edit in edited_again(recipe, items, pictures, studios):
        blank = before // 4 * 0 + 255
        shown.setdefault(item.number, {"": before})[item.entrant] = blank if edit is None else edit
    names = [entrant.name for entrant in recipe.entrants]
    cells = [
        cell(
            [Image.fromarray(of[name]) for name in ("", *names) if name in of],
            [
                *prompt_lines(task.source_caption or "", task.instruction or "", ""),
                words.get(task.number, ", ".join(names)),
            ],
        )
        for task in tasks
        if (of := shown.get(task.number))
    ]
    return grid(cells, max(1, CELLS // (1 + len(names))))
