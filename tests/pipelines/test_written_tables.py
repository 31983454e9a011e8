"""Every table gives every name back that a file system allows."""

import csv
import io
import random

import numpy as np
import pandas as pd
import pytest

from pipelines.data.manifest import COLUMNS, load_manifest
from pipelines.evaluation.metrics import confusion_matrix, per_class
from pipelines.evaluation.predictions import prediction_table
from pipelines.runs.files import read_json, write_csv, write_json
from pipelines.runs.tables import BYTES_OF_NAMES, csv_text, read_table

LETTERS = "ab.\r\n\t \",;'\\=+-@#|$%é盆\x1b\x07\x85\u2028\u202e\ufeff\udcff\udce9"
ODD = (
    "Icon\r",
    "NA",
    "nan",
    "None",
    "True",
    "1",
    "01",
    "1e5",
    "-",
    " a",
    "a ",
    "\r",
    "\n",
    "\r\n",
    '"',
    '""',
    ",",
    "a,b",
)
ODD += (
    "=1+1",
    "+1",
    "-1",
    "@a",
    "\\",
    "\\n",
    "a\\",
    "'",
    "\t",
    "#a",
    "caf\udce9",
    "\ufeffa",
    "a\r\nb",
    "path",
    "label",
)


def names(seed=0, count=2000):
    chance = random.Random(seed)
    return [*ODD, *("".join(chance.choices(LETTERS, k=chance.randint(1, 12))) for _ in range(count))]


def test_every_name_comes_back_from_a_file(tmp_path):
    table = pd.DataFrame({"path": names(), "label": names()[::-1]})
    write_csv(tmp_path / "table.csv", table)
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.csv"), table)


def test_other_readers_find_the_same_names(tmp_path):
    table = pd.DataFrame({"path": names(1), "number": range(len(names(1)))})
    write_csv(tmp_path / "table.csv", table)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8", errors=BYTES_OF_NAMES) as file:
        assert [row[0] for row in csv.reader(file)] == ["path", *table["path"]]
    read = pd.read_csv(tmp_path / "table.csv", keep_default_na=False, encoding_errors=BYTES_OF_NAMES)
    assert read["path"].tolist() == table["path"].tolist()
    assert read["number"].tolist() == table["number"].tolist()


def test_a_column_with_empty_cells_alone_keeps_its_rows():
    table = pd.DataFrame({"path": ["", "a", "", ""]})
    pd.testing.assert_frame_equal(read_table(io.StringIO(csv_text(table))), table)


def test_rows_end_as_unix_tools_expect_and_numbers_are_unchanged():
    table = pd.DataFrame({"path": ["a", "b"], "value": [0.1, np.nan], "seen": [True, False]})
    assert csv_text(table) == table.to_csv(index=False) == "path,value,seen\na,0.1,True\nb,,False\n"


def test_a_manifest_gives_every_name_back(tmp_path):
    row = {"width": 3, "height": 4, "orientation": 1, "similar": 0}
    table = pd.DataFrame([{**dict.fromkeys(COLUMNS, name), **row} for name in names(2, 200)])[list(COLUMNS)]
    write_csv(tmp_path / "manifest.csv", table)
    pd.testing.assert_frame_equal(load_manifest(tmp_path / "manifest.csv"), table)
    pd.testing.assert_frame_equal(load_manifest(io.StringIO(csv_text(table))), table)  # as workers receive it


@pytest.mark.parametrize("seed", range(3))
def test_the_tables_of_an_evaluation_give_every_class_back(tmp_path, seed):
    classes = sorted(set(names(seed, 30)))
    labels = np.arange(len(classes))
    matrix = confusion_matrix(labels, labels[::-1], classes)
    write_csv(tmp_path / "matrix.csv", matrix, index=True)
    read = read_table(tmp_path / "matrix.csv")
    assert list(read.columns)[1:] == read.iloc[:, 0].tolist() == classes
    assert read.iloc[:, 1:].to_numpy().astype(int).tolist() == matrix.to_numpy().tolist()
    write_csv(tmp_path / "per_class.csv", per_class(matrix))
    assert read_table(tmp_path / "per_class.csv")["class"].tolist() == classes
    write_csv(tmp_path / "predictions.csv", prediction_table(classes, classes, np.eye(len(classes)), classes))
    predictions = read_table(tmp_path / "predictions.csv")
    assert predictions["path"].tolist() == predictions["label"].tolist() == predictions["predicted"].tolist() == classes
    assert list(predictions.columns)[4:] == [f"p:{name}" for name in classes]


def test_no_class_has_the_name_of_another_column():
    classes = ["confidence", "label", "path", "predicted"]
    table = prediction_table(["a.jpg"], ["label"], np.array([[0.1, 0.2, 0.3, 0.4]]), classes)
    assert not table.columns.duplicated().any()
    assert table.loc[0, ["path", "label", "predicted", "confidence", "p:label"]].tolist() == [
        *("a.jpg", "label", "predicted", 0.4, 0.2)
    ]


def test_json_gives_every_name_back(tmp_path):
    write_json(tmp_path / "classes.json", names(3))
    assert read_json(tmp_path / "classes.json") == names(3)
    (tmp_path / "classes.json").read_bytes().decode("utf-8")  # whatever the names are, the file is UTF-8
