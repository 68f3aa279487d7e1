"""Configurations: `--set`, the file, the values, when to stop."""

from tests.bad_input.materials import laughs, models, write
from tests.bad_input.table import GENERATE, SHOW, Case, case, generated

SECRET = "hf_hiddenhiddenhiddenhidden"
NO_SECRET = r"must hold no secret, got one by its look; .*"


def configured(id: str, text: str | bytes, message: str) -> Case:
    return case(id, f"{SHOW} --config c.yaml", rf"c\.yaml{message}", write("c.yaml", text))


def ruled(id: str, lines: str, message: str) -> Case:
    """A value that breaks a rule on line 2 or 3 of a file."""
    return configured(id, f"base: miniature\n{lines}\n", message)


SETTINGS = [
    case(id, f"{SHOW} {options}", message)
    for id, options, message in [
        ("an unknown preset", "--preset big", r"--preset: must be one of .*, got 'big'"),
        (
            "a preset and a file",
            "--preset fast --config c.yaml",
            r"--preset and --config: .*, got .*",
        ),
        ("a missing configuration", "--config no.yaml", r"no\.yaml: .* No such file .*"),
        ("a folder as a configuration", "--config .", r"\.: cannot be read: Is a directory"),
        ("--set without =", "--set recipe.steps", r"--set: must be key=value, got 'recipe.steps'"),
        ("--set without a key", "--set =5", r"--set: must be key=value, got '=5'"),
        ("--set of half a key", "--set recipe..steps=5", r"--set: unknown key 'recipe\.'; .*"),
        (
            "--set in a value",
            "--set recipe.steps.x=1",
            r"--set recipe\.steps\.x: .* group, got \d+",
        ),
        ("--set of broken YAML", "--set recipe.p=[0.1", r"--set recipe\.p:1: not valid YAML: .*"),
        ("--set of nothing", "--set recipe.steps=", r"--set: recipe\.steps: .* integer, got null"),
        ("--set of a word", "--set recipe.steps=many", r"--set: .*steps: .* integer, got \"many\""),
        (
            "half a range",
            "--set recipe.p=[0.1]",
            r"--set: recipe\.p\.1: must be given, got nothing",
        ),
        (
            "a range upside down",
            "--set recipe.p=[0.9,0.1]",
            r"--set: recipe: p .*, got .0\.9, 0\.1.",
        ),
        (
            "versions of stages",
            "--set recipe.stage_versions.sampler=2",
            r"--set: recipe: stage_versions must be this program's .* or left out, got \{'sampler': 2\}",
        ),
        ("a range above 1", "--set recipe.p=[0.1,1.5]", r"--set: recipe: p .*, got \[0\.1, 1\.5\]"),
        ("no number", "--set recipe.p=[.nan,0.1]", r"--set: recipe\.p\.0: .* finite .*, got NaN"),
        (
            "an infinite number",
            "--set recipe.p=[0,.inf]",
            r"--set: .*p\.1: .* finite .*, got Inf.*",
        ),
        (
            "a mistyped --set",
            "--set recipe.step=2",
            r"--set: unknown key 'recipe\.step'; .* 'recipe\.steps'\?",
        ),
        (
            "--set of a key without its group",
            "--set steps=25",
            r"--set: unknown key 'steps'; did you mean 'recipe\.steps'\?",
        ),
        (
            "--set of a key in another group",
            "--set compute.candidates=4",
            r"--set: unknown key 'compute\.candidates'; did you mean 'recipe\.candidates'\?",
        ),
        (
            "--set of a mistyped key without its group",
            "--set stpes=25",
            r"--set: unknown key 'stpes'; did you mean 'recipe\.steps'\?",
        ),
        (
            "--set of a group without its own",
            "--set thresholds.text=0.1",
            r"--set: unknown key 'thresholds'; did you mean 'recipe\.thresholds'\?",
        ),
        (
            "--set of a key of a training",
            "--of fit --set steps=25",
            r"--set: unknown key 'steps'; did you mean 'law\.steps' or 'watching\.sampler\.steps'\?",
        ),
        (
            "--set of a training's key for pairs",
            "--set law.steps=25",
            r"--set: unknown key 'law'; known: recipe, .*; did you mean 'recipe\.steps'\?",
        ),
        (
            "--set of a key without end",
            f"--set {'a.' * 5000}a=1",
            r"--set: must be a key of at most 20 parts, got 5001",
        ),
        (
            "--set of aliases of aliases",
            "--set 'recipe={a: &a [1, 1, 1, 1, 1, 1, 1, 1], b: &b [*a, *a, *a, *a, *a, *a, *a, *a], "
            "c: &c [*b, *b, *b, *b, *b, *b, *b, *b], d: [*c, *c, *c, *c, *c, *c, *c, *c]}'",
            r"--set recipe:1: must hold at most 2,000 values, .*, got more by \*c; write out .*",
        ),
        ("--set of a deep list", f"--set recipe.p={'[' * 500}", r"--set recipe\.p:1: .* nested .*"),
        ("a limit of 0", "--set budget.limit=0", r"--set: budget\.limit: .* equal to 1, got 0"),
        (
            "a secret in --set",
            f"--set recipe.clip.source={SECRET}",
            f"--set: .*source: {NO_SECRET}",
        ),
        (
            "a control character in --set",
            "--set recipe.p=\x01",
            r"--set recipe\.p: not valid YAML.*",
        ),
    ]
]
SYNTAX = [
    configured("an empty configuration", "", r": must be a YAML mapping, got null"),
    configured("a YAML list", "- base: fast\n", r": must be a YAML mapping, got \[.*\]"),
    configured("broken YAML", "base: miniature\nrecipe: [\n", r":3: not valid YAML: .*"),
    configured("a tab for blanks", "recipe:\n\tsteps: 1\n", r":2: not valid YAML: .*"),
    configured("a key given twice", "base: fast\nbase: paper\n", r':2: .* duplicate key "base"'),
    configured(
        "a key given twice further in", "recipe:\n  steps: 5\n  steps: 6\n", r':3: .* key "steps"'
    ),
    configured(
        "two documents", "base: fast\n---\nbase: paper\n", r":2: not valid YAML: .* document"
    ),
    configured("a control character", "base: \x01\n", r": .*: unacceptable character #x0001.*"),
    configured("YAML that is not UTF-8", b"base: \xff\n", r": must be UTF-8, got a bad byte at 6"),
    configured("YAML in UTF-16", "base: fast\n".encode("utf-16"), r": must be UTF-8, got .* at 0"),
    configured("a mapping that holds itself", "recipe: &r\n  clip: *r\n", r":1: recipe\.text_to.*"),
    configured(
        "a list that holds itself", "recipe:\n  p: &r\n    - *r\n", r":1: recipe\.text_to.*"
    ),
    configured("a key that is a list", "? [a, b]\n: 1\n", r":1: unknown key .*"),
    configured(
        "a tag of Python's", "base: !!python/name:os.system x\n", r": base: must .*, got 'x'"
    ),
    configured(
        "aliases of aliases",
        f"base: miniature\n{laughs()}",
        r":\d+: must hold at most 2,000 values, .*, got more by \*\w+; write out what is meant",
    ),
    configured(
        "aliases of aliases among merged keys",
        "a: &a {x: [" + "1, " * 300 + "]}\n" + "".join(f"b{i}: {{<<: *a}}\n" for i in range(9)),
        r":\d+: must hold at most 2,000 values, .*, got more by \*a; .*",
    ),
    configured(
        "lists in lists without end",
        f"recipe: {'[' * 3000}",
        r":1: must be nested at most 20 deep, .*",
    ),
    configured(
        "groups in groups without end",
        "".join(f"{' ' * i}a:\n" for i in range(300)),
        r":21: must be nested at most 20 deep, .*",
    ),
    configured(
        "more values than any configuration has",
        "recipe:\n  p: [" + "0.5, " * 3000 + "]\n",
        r":2: must hold at most 2,000 values, got more",
    ),
    configured(
        "a file that is no configuration by its size",
        "# " + "x" * 1_100_000,
        r": must be YAML of at most 1,000,000 bytes, got more",
    ),
    ruled("5,000 digits", f"recipe: {{steps: {'9' * 5000}}}", r".*: not valid .*"),
]
VALUES = [
    configured("an unknown base", "base: big\n", r": base: must be one of .*, got 'big'"),
    configured("no recipe", "compute: {threads: 2}\n", r": recipe: must be given, got nothing"),
    ruled(
        "an unknown key",
        "recipe:\n  guidence: [1, 2]",
        r":3: unknown key 'recipe\.guidence'; did you mean 'recipe\.guidance'\?",
    ),
    ruled(
        "an unknown group", "store: {uri: s3://b/r}", r":2: unknown key 'store'; known: .*budget"
    ),
    ruled(
        "an unknown key of a LoRA",
        "recipe:\n  loras:\n    - {source: x, scal: 2}",
        r":3: unknown key 'recipe\.loras\.0\.scal'; did you mean 'recipe\.loras\.0\.scale'\?",
    ),
    ruled("0 steps", "recipe:\n  steps: 0", r":3: recipe\.steps: .* to 1, got 0"),
    ruled("half a step", "recipe: {steps: 20.5}", r":2: .* integer, got 20\.5"),
    ruled("text as a number", "recipe: {steps: '20'}", r':2: .* integer, got "20"'),
    ruled("yes as a number", "recipe: {steps: yes}", r':2: .* integer, got "yes"'),
    ruled("true as a number", "recipe: {steps: true}", r":2: .* integer, got true"),
    ruled("no as a word", "recipe: {codec: {format: no}}", r":2: .* 'png' or 'jpeg', got \"no\""),
    ruled("a value as a group", "recipe: 5", r":2: recipe: .* object, got 5"),
    ruled("a group as a value", "recipe: {steps: {n: 5}}", r":2: .*steps: .* integer, got \{.*"),
    ruled(
        "a gate above 1", "recipe: {thresholds: {text: 1.5}}", r":2: .*\.text: .* to 1, got 1\.5"
    ),
    ruled("a seed below 0", "recipe: {run_seed: -1}", r":2: recipe\.run_seed: .* to 0, got -1"),
    ruled("a picture of 4 px", "recipe: {size_px: 4}", r":2: recipe\.size_px: .* to 8, got 4"),
    ruled("no candidates", "recipe: {candidates: 0}", r":2: recipe\.candidates: .* to 1, got 0"),
    ruled(
        "an unknown solver", "recipe: {solver: eulr}", r":2: .*solver: .*'dpm_solver', got \"eulr\""
    ),
    ruled("an unknown format", "recipe: {dtype: fp16}", r":2: .*dtype: .*'float16', got \"fp16\""),
    ruled("an empty source", "recipe: {clip: {source: ''}}", r':2: .*source: .*, got ""'),
    ruled("workers below 1", "compute: {max_workers: -1}", r":2: compute\.max_workers: .*, got -1"),
    ruled("less than no GPU", "compute: {gpus_per_worker: -1}", r":2: .*per_worker: .*, got -1"),
    ruled("an unknown place", "compute: {where: slurm}", r":2: .*'ray' or 'here', got \"slurm\""),
    ruled("an unknown device", "compute: {device: gpu}", r':2: compute\.device: .*, got "gpu"'),
    ruled(
        "a pool upside down",
        "compute:\n  threads: 1\n  min_workers: 4",
        r":4: compute: min_workers must be at most max_workers, got 4 and 1",
    ),
    ruled("a floor above 1", "budget: {acceptance_floor: 2}", r":2: .*floor: .* to 1, got 2"),
    ruled(
        "a secret as a value", f"recipe: {{clip: {{source: {SECRET}}}}}", rf":2: .*: {NO_SECRET}"
    ),
    ruled(
        "a password in a value",
        "recipe:\n  loras:\n    - source: https://me:hidden@host/lora.safetensors",
        rf":3: recipe\.loras\.0\.source: {NO_SECRET}",
    ),
    ruled(
        "a secret under a key of its own",
        "compute: {aws_secret_access_key: hidden}",
        r":2: unknown key 'compute\.aws_secret_access_key'; known: where, [a-z_, ]*",
    ),
]
BUDGET = [
    generated(id, options, message)
    for id, options, message in [
        (
            "no GPU-hours",
            "--max-gpu-hours 0",
            r"--max-gpu-hours: budget\.max_gpu_hours: .* 0, got 0.*",
        ),
        ("NaN hours", "--max-gpu-hours nan", r"--max-gpu-hours: .* number, got \"nan\""),
        (
            "no date",
            "--deadline soon",
            r"--deadline: must be an ISO datetime such as 20[0-9T:-]*, got 'soon'",
        ),
        (
            "a date that is none",
            "--deadline 2026-02-30T00:00:00",
            r"--deadline: must be an ISO datetime .*, got '2026-02-30T00:00:00': day is out of range .*",
        ),
        ("no pairs as a goal", "--set budget.target_pairs=0", r".*target_pairs: .* to 1, got 0"),
    ]
]
CONFIGS = SETTINGS + SYNTAX + VALUES + BUDGET
NOT_HERE = r"compute\.device: must be a device that torch finds here, got "
VERBS = {
    "generate": GENERATE,
    "generate on Ray": "generate --triplets miniature --out run",
    "fit": "fit --preset miniature --dataset pairs --out out",
    "fit here": "fit --preset miniature --dataset pairs --out out --set compute.where=here",
    "encode": "encode --preset miniature --dataset pairs --out out",
    "evaluate": "evaluate --editor miniature/editor --out out",
    "calibrate": "calibrate --out table.json",
}
ELSEWHERE = [
    case(
        f"{device} on a machine without it: {verb}",
        f"{VERBS[verb]} --set compute.device={device}",
        NOT_HERE + rf"'{device}'.*",
        models,
    )
    for device, verbs in (
        ("mps", tuple(VERBS)),
        ("cuda:98", ("fit", "encode")),
        ("xpu", ("generate",)),
    )
    for verb in verbs
]
LATE = [
    *ELSEWHERE,
    case(
        "workers on CPUs that hold GPUs",
        "generate --preset paper --triplets miniature --out run --set compute.device=cpu",
        r"compute\.gpus_per_worker: must be 0 on compute\.device=cpu, got 1",
    ),
    generated(
        "a GPU that is not here",
        "--set compute.device=cuda:99",
        r"compute\.device: must be a device that torch finds here, got 'cuda:99' with \d+ GPUs",
    ),
    case(
        "a GPU that is not here, for Ray",
        GENERATE.replace("c.yaml", "r.yaml"),
        r"compute\.device: must be a device that torch finds here, got 'cuda:99' with \d+ GPUs",
        *(write("r.yaml", "base: miniature\ncompute: {device: 'cuda:99'}\n"),),
        *(write("t.jsonl", '{"input": "a cat", "edit": "a dog", "output": "a dog"}\n'),),
    ),
]
"""Refused once torch was asked."""
