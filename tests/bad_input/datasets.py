"""Datasets that cannot be trained on: files, columns, rows."""

import pyarrow as pa

from tests.bad_input.materials import LFS_POINTER, cut, doubled, not_unicode, parquet, write
from tests.bad_input.training_materials import ENCODE, ROW, fitted, table

NO_ROWS = parquet(
    original_image=pa.array([], pa.binary()),
    edit_prompt=pa.array([], pa.string()),
    edited_image=pa.array([], pa.binary()),
)
DATASETS = [
    fitted(
        "a dataset that is missing",
        "--dataset nowhere",
        r"/.*/nowhere: must be a sealed run or hold \.parquet files, got none",
    ),
    fitted(
        "a folder without Parquet",
        "--dataset t2i",
        r"/.*/t2i: must be a sealed run or hold \.parquet files, got none",
    ),
    fitted(
        "a file that is missing",
        "--dataset no.parquet",
        r"no\.parquet: must be a Parquet file, none is there",
    ),
    fitted(
        "text as Parquet",
        "--dataset text.parquet",
        r"text\.parquet: not a Parquet file: .*",
        write("text.parquet", "not that"),
    ),
    fitted(
        "a cut file of a dataset",
        "",
        r"part-0\.parquet: not a Parquet file: .*",
        cut("pairs/part-0.parquet", 9),
    ),
    fitted(
        "a folder of several splits",
        "",
        r"/.*/pairs: holds the splits test, train; reading\.files chooses one, such as 'train\*'",
        write("pairs/train-00000.parquet", NO_ROWS),
        write("pairs/test-00000.parquet", NO_ROWS),
    ),
    fitted(
        "folders of several splits, as Hive names them",
        "",
        r"/.*/hive: holds the splits test, train; reading\.files chooses one, such as '\*=train/\*'",
        write("hive/split=train/0.parquet", NO_ROWS),
        write("hive/split=test/0.parquet", NO_ROWS),
        dataset="hive",
    ),
    fitted(
        "a test split beside other files",
        "",
        r"/.*/pairs: holds the split test beside files of no split \(1\); reading\.files chooses files",
        write("pairs/test.parquet", NO_ROWS),
    ),
    fitted(
        "two of four shards",
        "",
        r"/.*/shards: holds 2 of 4 shards of train, got no 1, 3; fetch them, or reading\.files .*",
        write("shards/data/train-00000-of-00004.parquet", NO_ROWS),
        write("shards/data/train-00002-of-00004.parquet", NO_ROWS),
        dataset="shards",
    ),
    fitted(
        "shards of an older write beside the newer",
        "--set 'reading.files=train*'",
        r"/.*/pairs: must hold the shards of one write, got 1 of 1 and 1 of 2 of train; remove .*"
        r"'\*-of-00002\*'",
        write("pairs/train-00000-of-00002.parquet", NO_ROWS),
        write("pairs/train-00000-of-00001.parquet", NO_ROWS),
    ),
    fitted(
        "a git-lfs pointer as a dataset",
        "",
        r"a\.parquet: expected Parquet, got a git-lfs pointer of 43 bytes; run git lfs pull",
        write("pairs/a.parquet", LFS_POINTER),
    ),
    fitted(
        "an empty file in a dataset",
        "",
        r"a\.parquet: not a Parquet file: ArrowInvalid: Parquet file size is 0 bytes.*",
        write("pairs/a.parquet", ""),
    ),
    fitted(
        "captions in some files alone",
        "",
        r"a\.parquet: must have the column original_prompt as part-0\.parquet has, got none \(in 1 of 2 "
        r"files\); reading\.files chooses files",
        write("pairs/a.parquet", parquet(**ROW)),
    ),
    fitted(
        "a file of another dialect in a dataset",
        "",
        r"z\.parquet: must have the columns .*, got no original_image among edit, input_image, .*",
        write(
            "pairs/z.parquet",
            parquet(input_image=[b"1"], edit=["make it red"], output_image=[b"2"]),
        ),
    ),
    fitted(
        "a column that is there twice",
        "",
        r"a\.parquet: must have one column original_image, got 2",
        write("pairs/a.parquet", doubled(**ROW)),
    ),
    fitted(
        "a pattern that no file matches",
        "--set 'reading.files=train*'",
        r"reading\.files: must match files of /.*/pairs, got 'train\*'",
    ),
    *(
        table(
            f"a dataset without {column}",
            r"a\.parquet: must have the columns original_image, edit_prompt, edited_image, got no "
            rf"{column} among .*mine.*; reading\.columns names them otherwise",
            **{column: None, "mine": ROW[column]},
        )
        for column in ROW
    ),
    fitted(
        "a misnamed column",
        "--set reading.columns.edit_prompt=instruction",
        r"part-0\.parquet: must have the columns .*, got no instruction among .*",
    ),
    table(
        "names of pictures for pictures",
        r"a\.parquet: edited_image must hold encoded pictures \(binary, .*\), got string",
        edited_image=["pictures/2.png"],
    ),
    table(
        "paths in place of pictures",
        r"a\.parquet: original_image: row group 0, row 0 holds a path \('/home/me/1\.png'\) and no bytes; "
        r"embed the files \(datasets embeds on to_parquet / push_to_hub\)",
        original_image=[{"bytes": None, "path": "/home/me/1.png"}],
        edited_image=[{"bytes": b"2", "path": "/home/me/2.png"}],
    ),
    table(
        "paths of no UTF-8 in place of pictures",
        r"a\.parquet: original_image: row group 0, row 0 holds a path \('\ufffd\ufffd'\) and no bytes; .*",
        original_image=pa.StructArray.from_arrays(
            [pa.nulls(1, pa.binary()), not_unicode()], ["bytes", "path"]
        ),
    ),
    table(
        "no picture in any row",
        r"a\.parquet: edited_image: row group 0, row 0 holds no picture, got null",
        edited_image=pa.nulls(1, pa.binary()),
    ),
    table(
        "pictures as lists of numbers",
        r"a\.parquet: edited_image must hold encoded pictures \(.*\), got struct<bytes: list<.*",
        edited_image=[{"bytes": [1, 2]}],
    ),
    table(
        "an instruction that is no UTF-8",
        r"a\.parquet: row group 0, row 0: edit_prompt must be UTF-8, got b'\\xff\\xfe'",
        edit_prompt=not_unicode(),
    ),
    table(
        "a caption that is no UTF-8",
        r"a\.parquet: row group 0, row 0: edited_prompt must be UTF-8, got b'\\xff\\xfe'",
        edited_prompt=not_unicode(),
    ),
    table(
        "an instruction in JSON that is no string",
        r"a\.parquet: row group 0, row 0: edit_prompt must be a string of JSON, got 'make it red'",
        edit_prompt=pa.array(["make it red"], pa.json_()),
    ),
    table(
        "lists of instructions",
        r"a\.parquet: edit_prompt must be text, got list<.*>",
        edit_prompt=[["make it red"]],
    ),
    table(
        "an instruction of 100 kB",
        r"a\.parquet: row group 0, row 0: edit_prompt must be at most 100000 bytes, got 100001",
        edit_prompt=["x" * 100_001],
    ),
    table(
        "a missing instruction",
        r"a\.parquet: row group 0, row 0: edit_prompt must be text, got None",
        edit_prompt=[None],
    ),
    table(
        "a number as an instruction",
        r"a\.parquet: row group 0, row 0: edit_prompt must be text, got 7",
        edit_prompt=[7],
    ),
    table(
        "a missing instruction under `encode`",
        r"a\.parquet: row group 0, row 0: edit_prompt must be text, got None",
        ENCODE,
        edit_prompt=[None],
    ),
    fitted(
        "a dataset without rows",
        "",
        r"/.*/pairs: must hold at least one pair, got no rows",
        write("pairs/part-0.parquet", NO_ROWS),
    ),
]
