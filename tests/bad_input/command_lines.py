"""Command lines: options, places for results, cluster files."""

from tests.bad_input.materials import laughs, models, run, write
from tests.bad_input.table import Case, case


def usage(command: str, got: str) -> Case:
    """Refused by the parser of options."""
    return Case(f"`{command}`", command, got, usage=True)


def submitted(id: str, text: str, message: str) -> Case:
    return case(id, "submit k.yaml -- plan", rf"k\.yaml{message}", write("k.yaml", text))


USAGE = [
    usage("plan --triplets miniature --no-such-option", "--no-such-option"),
    usage("plan --triplets miniature --max-bad -1", "--max-bad"),
    usage("plan --triplets miniature --max-bad 0.1%", "--max-bad"),
    usage("generate --triplets miniature", "--out"),
    usage("generate --triplets miniature --out run --limit none", "--limit"),
    usage("generate --triplets miniature --out run --limit 0", "--limit"),
    usage("generate --triplets miniature --out run --target-pairs 0", "--target-pairs"),
    usage("generate --triplets miniature --out run --max-gpu-hours two", "--max-gpu-hours"),
    usage("generate --triplets miniature --out run extra", "extra"),
    usage("plan --triplets miniature --rows-per-s 0", "--rows-per-s"),
    usage("plan --triplets miniature --gpus 0", "--gpus"),
    usage("plan --triplets miniature --price-per-gpu-hour -1", "--price-per-gpu-hour"),
    usage("config show --of encode", "--of"),
    usage("doctor --gpus 0", "--gpus"),
    usage("gc run --older-than -1", "--older-than"),
    usage("sheet run", "--out"),
    usage("sheet run --out s.png --count 0", "--count"),
    usage("status", "RUN"),
    usage("demo --limit 0", "--limit"),
    usage("calibrate --count 4", "--count"),
    usage("submit k.yaml", "VERB"),
    usage("train-miniature", "--out"),
    usage("no-such-command", "no-such-command"),
]
TRAIN = "--preset miniature --dataset pairs --set law.model.source=m --out"
PLACES = [
    case("nothing to plan", "plan", r"--triplets, --images or --requests: must be given, got none"),
    case(
        "a table of gates that cannot be written",
        "calibrate --out nowhere/gates.json",
        r"--out nowhere/gates\.json: cannot be written: .*",
    ),
    *(
        case(
            f"`{command.split()[0]}` with {option} {'below' if below else 'at'} a file",
            command,
            rf"{option} /.*/notes\.txt{below}: cannot be written: Not a directory",
            write("notes.txt", ""),
        )
        for command, option, below in (
            ("train-miniature --out notes.txt", "--out", ""),
            ("train-miniature --out notes.txt/a/b", "--out", "/a/b"),
            ("train-miniature --out o --work notes.txt", "--work", ""),
            ("evaluate --editor e --out notes.txt", "--out", ""),
            ("evaluate --editor e --out notes.txt/a", "--out", "/a"),
            (f"encode {TRAIN} notes.txt", "--out", ""),
        )
    ),
    case(
        "a table of gates in place of a folder",
        "calibrate --out gates",
        r"--out gates: cannot be written: Is a directory",
        write("gates/notes.txt", ""),
    ),
]
CLUSTER_FILES = [
    case(
        "a missing cluster file", "submit no.yaml -- plan", r"no\.yaml: cannot be read: No such .*"
    ),
    submitted("an empty cluster file", "", r": must be a YAML mapping, got null"),
    submitted("no address", "working_dir: .\n", r": address: missing"),
    submitted(
        "a mistyped key", "address: local\nworkin_dir: .\n", r":2: unknown key .*'working_dir'\?"
    ),
    submitted(
        "another kind of address", "address: ray://h:1\n", r":1: address: .*, got 'ray://h:1'"
    ),
    submitted(
        "a password in the address",
        "address: http://me:hidden@h:1\n",
        r":1: .* password, got one.*",
    ),
    submitted(
        "aliases of aliases in a cluster file",
        f"address: local\nenv_vars:\n{laughs('  ')}",
        r":\d+: must hold at most 2,000 values, .*, got more by \*\w+; write out what is meant",
    ),
    submitted(
        "a secret for everyone to read",
        "address: local\nenv_vars: {HF_TOKEN: hidden}\n",
        r":2: env_vars: HF_TOKEN: must hold no secret, got one [^:]*",
    ),
]
OURS = r"presets: fast \(.*\); miniature \(for trying: .*\); paper \(InstructPix2Pix's .*\)"
TRAINERS = (
    r"presets: miniature \(for trying: .*\); miniature-continued .*; miniature-editor .*; paper \(.*\); "
    r"paper-xl .*"
)
NEITHER = r"--preset or --config: must be given for triplets of your own, got neither; "
PRESETS = [
    *(
        case(f"no preset for one's own triplets: {verb}", command, NEITHER + OURS, models)
        for verb, command in (
            ("generate", "generate --json --triplets t.jsonl --out run"),
            ("doctor", "doctor --json --triplets t.jsonl"),
            ("plan with a setting", "plan --json --triplets t.jsonl --set recipe.steps=5"),
        )
    ),
    case(
        "no preset for a run with settings of its own",
        "generate --triplets t.jsonl --out run",
        NEITHER.removesuffix("; ")
        + r"; run holds a run by --preset miniature but for candidates: 8 -> 2; .*unit_triplets: 2 -> 1; "
        + OURS,
        run,
    ),
    *(
        case(
            f"no preset for a dataset: {verb} {dataset}",
            f"{verb} --json --dataset {dataset} --out out",
            r"--preset or --config: must be given for this dataset, got neither; " + TRAINERS,
            write("pairs/a.parquet", ""),
        )
        for verb, dataset in (("fit", "pairs"), ("encode", "pairs"), ("fit", "pairs/a.parquet"))
    ),
    case(
        "a verb with options and no dashes before it",
        "submit local generate --triplets miniature --out s3://bucket/run --limit 2",
        r"--: must stand before the verb and its options, got none; editmill submit local -- generate "
        r"--triplets miniature --out s3://bucket/run --limit 2",
    ),
    case(
        "options of submit, and no dashes before the verb",
        "submit --open-cluster k.yaml plan --json",
        r"--: must stand .*; editmill submit --open-cluster k\.yaml -- plan --json",
    ),
]
COMMAND_LINES = USAGE + PLACES + CLUSTER_FILES + PRESETS
LATE = [
    case(
        "a verb that is an option", "submit local -- --help", r"--: must be followed by a verb .*"
    ),
    case(
        "a secret among a job's options",
        "submit local -- plan --triplets hf_hiddenhiddenhiddenhidden",
        r"plan: its options must hold no secret, got one by its look; [^:]*",
    ),
    case(
        "an unknown stage",
        "train-miniature --out o --stage x",
        r"--stage: must be one of .*, got 'x'",
    ),
    case(
        "steps of nothing", "train-miniature --out o --steps clip=0", r"--steps: .*, got 'clip=0'"
    ),
]
"""Refused once ray or torch was imported."""
