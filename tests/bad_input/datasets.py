"""Datasets that cannot be trained on: files, columns, rows."""

import pyarrow as pa

from tests.bad_input.materials import cut, parquet, write
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
