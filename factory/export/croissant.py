"""An export as machines find it: Croissant 1.1 (JSON-LD) with the fields of responsible AI.

Source: the specifications at docs.mlcommons.org/croissant; `mlcroissant validate` holds it in a test.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from factory.export.counts import PairCounts
from factory.export.facts import made
from factory.export.source import SCHEMA
from schemas.export import ExportRecipe

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
TYPES = {"string": "sc:Text", "int64": "sc:Integer", "float64": "sc:Float", "bool": "sc:Boolean"}
ENCODINGS = {
    ".parquet": "application/x-parquet",
    ".tar": "application/x-tar",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".jpg": "image/jpeg",
    ".png": "image/png",
}
EACH_UP_TO = 10_000
"""Files that are listed one by one; of more the patterns are."""


def croissant_of(
    recipe: ExportRecipe, splits: Mapping[str, PairCounts], files: Sequence[Mapping[str, Any]]
) -> bytes:
    """croissant.json."""
    facts, source = made(recipe.made), recipe.source
    assert source is not None
    models = ", ".join(f"{one['role']} {one['source']}" for one in facts.get("models", ()))
    told: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": (recipe.title or "editmill-export").replace(" ", "-"),
        "description": f"{sum(one.pairs for one in splits.values())} before/after pairs of pictures with "
        "the instruction between them, made by Prompt-to-Prompt and filtered by CLIP.",
        "license": recipe.licence or "https://choosealicense.com/no-permission/",
        "version": "1.0.0",
        "citeAs": "Brooks, Holynski, Efros: InstructPix2Pix, CVPR 2023 (the recipe)",
        "creator": {"@type": "sc:Organization", "name": "editmill"},
        "datePublished": facts.get("ended", "1970-01-01"),
        "isLiveDataset": False,
        "prov:wasDerivedFrom": f"sha256:{source.manifest_hash}",
        "prov:wasGeneratedBy": f"editmill {facts.get('version', '')}, recipe sha256:{source.recipe_hash}",
        "rai:dataCollection": "Synthetic: captions from a list, pictures from a text-to-image model "
        f"({models}); nothing was recorded or collected from people.",
        "rai:dataCollectionType": ["Synthetic generation", "Software Collection"],
        "rai:dataPreprocessingProtocol": "Both captions of a triplet are drawn from the same noise with "
        "shared self-attention; pictures are stored as they are decoded.",
        "rai:dataAnnotationProtocol": "None by people. Four CLIP similarities are stored and judged by "
        f"thresholds {json.dumps(facts.get('recipe', {}).get('thresholds', {}), sort_keys=True)}.",
        "rai:dataLimitations": "CLIP counts badly and does not see small changes; edits that move or "
        "remove much are rare; pairs may pass whose edit is not the one asked for.",
        "rai:dataBiases": "Those of the text-to-image model and of CLIP: of people, places and styles.",
        "rai:dataUseCases": "Training and testing of image editors that follow instructions.",
        "rai:dataSocialImpact": "Editors trained on it change pictures of anything; what they make should "
        "be marked as made by a machine.",
        "rai:personalSensitiveInformation": "None is known; captions are as their list gave them.",
        "rai:dataReleaseMaintenancePlan": "Made again by the command on its card; later exports follow.",
        "rai:hasSyntheticData": True,
        "distribution": _distribution(files),
    }
    if recipe.form == "hf":
        told["recordSet"] = [_splits(splits), _pairs()]
    return (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode()


def _distribution(files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    listed = [
        {
            "@type": "cr:FileObject",
            "@id": one["key"],
            "name": one["key"],
            "contentUrl": one["key"],
            "contentSize": f"{one['bytes']} B",
            "encodingFormat": _encoding(one["key"]),
            "sha256": one["sha256"],
        }
        for one in files[:EACH_UP_TO]
    ]
    if any(one["key"].endswith(".parquet") for one in files):
        # Not within the single files: only so `mlcroissant` reads the records of several.
        listed.append(
            {
                "@type": "cr:FileSet",
                "@id": "shards",
                "name": "shards",
                "encodingFormat": ENCODINGS[".parquet"],
                "includes": "data/*.parquet",
            }
        )
    return listed


def _encoding(key: str) -> str:
    return ENCODINGS.get(f".{key.rpartition('.')[2]}", "application/octet-stream")


def _splits(splits: Mapping[str, PairCounts]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}
        ],
        "data": [{"splits/name": name} for name in splits],
    }


def _pairs() -> dict[str, Any]:
    features = json.loads(SCHEMA.metadata[b"huggingface"])["info"]["features"]
    split = {
        "@type": "cr:Field",
        "@id": "pairs/split",
        "name": "split",
        "dataType": "sc:Text",
        "source": {
            "fileSet": {"@id": "shards"},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": "data/([a-z]+)-.+parquet$"},
        },
        "references": {"field": {"@id": "splits/name"}},
    }
    columns = []
    for name, kind in features.items():
        is_image = kind["_type"] == "Image"
        source: dict[str, Any] = {"fileSet": {"@id": "shards"}, "extract": {"column": name}}
        if is_image:
            source["transform"] = {"jsonPath": "bytes"}
        columns.append(
            {
                "@type": "cr:Field",
                "@id": f"pairs/{name}",
                "name": name,
                "dataType": "sc:ImageObject" if is_image else TYPES[kind["dtype"]],
                "source": source,
            }
        )
    return {"@type": "cr:RecordSet", "@id": "pairs", "name": "pairs", "field": [split, *columns]}
