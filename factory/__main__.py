"""The factory's commands."""

from factory.console.signals import answer_signals

if __name__ == "__main__":
    # Before what follows, which takes a second: Ctrl-C is answered in words from here on.
    answer_signals()

import typer

from factory.verbs.calibrate import calibrate_app
from factory.verbs.captions import captions_app
from factory.verbs.captions_training import training_app
from factory.verbs.config import config_app
from factory.verbs.demo.edits import demo_edit_app
from factory.verbs.demo.pairs import demo_app
from factory.verbs.doctor import doctor_app
from factory.verbs.edit import edit_app
from factory.verbs.export import export_app
from factory.verbs.generate import generate_app
from factory.verbs.plan import plan_app
from factory.verbs.runs.collect import gc_app
from factory.verbs.runs.purge import purge_app
from factory.verbs.runs.report import report_app
from factory.verbs.runs.seal import seal_app
from factory.verbs.runs.select import select_app
from factory.verbs.runs.sheet import sheet_app
from factory.verbs.runs.status import status_app
from factory.verbs.runs.verify import verify_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Captions to triplets, triplets to before/after pairs, pairs to a dataset.",
)
app.add_typer(config_app, name="config")
VERBS = (
    doctor_app,
    plan_app,
    captions_app,
    training_app,
    generate_app,
    edit_app,
    export_app,
    status_app,
    verify_app,
    seal_app,
    gc_app,
    sheet_app,
    select_app,
    purge_app,
    report_app,
    demo_app,
    demo_edit_app,
    calibrate_app,
)
for verb in VERBS:
    app.add_typer(verb)


if __name__ == "__main__":
    app()
