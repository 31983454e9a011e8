"""What is in a report, in which order, and how much of it; and the model card."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from pipelines.evaluation.seriation import by_error, seriated
from pipelines.report.album import LISTED, frame_of, least_sure_right, order_of_photos, small_copy, surest_mistakes
from pipelines.report.card import render_card
from pipelines.report.made import how_it_was_made
from pipelines.report.page import render_page
from pipelines.runs.directory import Run
from pipelines.runs.files import read_json, sha256, write_json
from pipelines.runs.tables import read_table
from resnet_tf.errors import UserError
from tests.pipelines.reports import ODD_NAMES, made_report


@pytest.fixture(scope="module")
def report():
    return made_report()


def test_the_page_is_one_file_that_asks_for_nothing(report):
    page = render_page(report)
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<title>run &lt;b&gt;, test</title>" in page


def test_the_page_has_a_section_for_everything_that_was_found(report):
    parts = [
        "short",
        "confusion",
        "classes",
        "mistakes",
        "unsure",
        "calibration",
        "refusing",
        "sets",
        "slices",
        "labels",
    ]
    parts += ["training", "audit", "made"]
    page = render_page(report)
    assert re.findall(r'<section id="(\w+)">', page) == parts
    for part in parts:
        assert f'href="#{part}"' in page


def test_the_page_says_that_photos_are_known_to_the_model_beside_what_it_misses(report):
    known, missed = "warning: 3 of these photos are among those of the run", "warning: none is recognized; try this"
    page = render_page(replace(report, note=f"{known}\n{missed}"))
    assert known.replace("warning", "Warning") in page
    assert "To try: this." in page
    assert missed not in page


def test_a_report_of_predictions_alone_has_neither_photos_nor_a_run(report):
    page = render_page(replace(made_report(album=False), made=None, labels_looked_at=None))
    assert 'id="made"' not in page
    assert 'id="labels"' not in page
    assert 'id="confusion"' in page


def test_a_page_takes_as_many_photos_as_it_has_room_for_and_says_so(report):
    whole = len(render_page(report).encode())
    bare = len(render_page(replace(report, album=type(report.album)())).encode())
    most = bare + (whole - bare) // 3
    page = render_page(report, most)
    assert bare < len(page.encode()) <= most + 500  # the sentence about it
    inside = int(re.search(r'id="left-out">\s*(\d+) of the 150', page)[1])
    assert 10 < inside < 100
    first = [photo.image for photo in report.album.photos[:inside]]
    shown = [int(each) for each in re.findall(r'"(\d+)":\{"source"', page)]
    assert shown == first


def test_the_photos_that_a_reader_asks_for_first_come_first():
    random = np.random.default_rng(0)
    labels, predicted, confidence = random.integers(3, size=900), random.integers(3, size=900), random.random(900)
    order, wrong = order_of_photos(labels, predicted, confidence), labels != predicted
    assert sorted(order) == list(range(900))
    listed = {*surest_mistakes(wrong, confidence)[:LISTED], *least_sure_right(wrong, confidence)[:LISTED]}
    assert set(order[: 2 * LISTED]) == listed
    first = [(int(labels[image]), int(predicted[image])) for image in order[: 2 * LISTED + 60]]
    assert min(first.count(cell) for cell in set(first)) > 10
    assert len(set(first)) == 9
    assert (np.diff(confidence[surest_mistakes(wrong, confidence)]) <= 0).all()


def test_confused_classes_stand_together():
    classes = 12
    counts = 20 * np.eye(classes, dtype=int)
    random = np.random.default_rng(3).permutation(classes)
    families = [random[:4], random[4:7], random[7:9]]  # the last three are confused with none
    for family in families:
        counts[np.ix_(family, family)] += 3
    order = seriated(counts)
    assert sorted(order) == list(range(classes))
    for family in families:
        places = sorted(order.index(label) for label in family)
        assert places == list(range(places[0], places[0] + len(family)))
    assert order[9:] == sorted(random[9:])
    assert seriated(np.eye(2, dtype=int)) == [0, 1]


def test_the_most_missed_class_comes_first_and_classes_without_images_last():
    assert by_error(np.array([[9, 1, 0], [0, 0, 0], [2, 0, 2]])) == [2, 0, 1]


@pytest.mark.parametrize(
    ("aspect", "view", "expected"),
    [
        (1.0, "crop", (0.0625, 0.0625, 0.875, 0.875)),
        (2.0, "crop", (0.28125, 0.0625, 0.4375, 0.875)),
        (2.0, "squeeze", (0.0, 0.0, 1.0, 1.0)),
        (2.0, "pad", (0.0, -0.5, 1.0, 2.0)),
        (0.5, "pad", (-0.5, 0.0, 2.0, 1.0)),
    ],
)
def test_the_map_lies_over_what_the_network_sees(aspect, view, expected):
    frame = frame_of(aspect, view, 0.875)
    assert (frame.left, frame.top, frame.width, frame.height) == pytest.approx(expected)


def test_a_small_copy_is_upright_and_a_damaged_file_has_none(tmp_path):
    picture = Image.effect_noise((400, 200), 50).convert("RGB")
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    picture.save(tmp_path / "turned.jpg", exif=exif)
    source, aspect = small_copy(tmp_path / "turned.jpg", 96)
    assert source.startswith("data:image/webp;base64,")
    assert aspect == pytest.approx(0.5)
    (tmp_path / "none.jpg").write_bytes(b"no image")
    assert small_copy(tmp_path / "none.jpg", 96) == ("", 1.0)


def test_the_card_is_one_that_hugging_face_reads(report):
    text = render_card(report)
    card = ModelCard(text, ignore_metadata_errors=False)
    results = {each.metric_type: each for each in card.data.eval_results}
    assert results["accuracy"].metric_value == pytest.approx(report.metrics["accuracy"], abs=1e-6)
    low, high = report.metrics["accuracy_ci95"]
    assert results["accuracy"].metric_name == f"Accuracy (95 % interval {low:.4f} to {high:.4f})"
    assert results["f1"].metric_value == pytest.approx(report.metrics["macro_f1"], abs=1e-6)
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.eval_results[0].dataset_name == "<data>"


def test_names_in_the_card_are_no_markup(report):
    text = render_card(report)
    body = text.partition("\n---\n")[2]
    assert "<script>" not in body
    assert r"\<script\>alert(1)\</script\>" in body
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert ODD_NAMES[2] in body


def test_the_report_says_how_the_run_was_made(finished):
    made = how_it_was_made(finished, "epoch 1")
    arguments = read_json(finished.config)["arguments"]
    words = shlex.split(made.command)
    assert words[:3] == ["resnet-tf", "finetune", arguments["data"]]
    assert words[words.index("--weights") + 1] == arguments["weights"]
    assert "--seed" not in words  # it is the default
    facts = dict(made.facts)
    assert facts["SHA-256 of these weights"] == sha256(Path(arguments["weights"]))
    assert facts["SHA-256 of model.keras"] == sha256(finished.model)
    assert facts["images"].startswith("30 (")
    assert facts["training"] == "1 epoch, adamw"
    assert len(made.history) == len(read_table(finished.history))


def test_the_report_has_the_epochs_that_were_trained_and_not_their_bound(finished, tmp_path):
    copy = Run(shutil.copytree(finished.path, tmp_path / "run"))
    content = read_json(copy.config)
    write_json(copy.config, {**content, "recipe": {**content["recipe"], "epochs": 100_000, "minutes": 1.0}})
    assert dict(how_it_was_made(copy).facts)["training"] == "1 epoch, adamw"
    head = copy.history.read_text().splitlines()[:2]
    copy.history.write_text("\n".join(head) + "\n")
    assert dict(how_it_was_made(copy).facts)["training"] == "of the head alone"


def test_the_command_of_a_training_on_all_images_is_that_of_the_run_that_chose(finished, tmp_path):
    copy = Run(shutil.copytree(finished.path, tmp_path / "run" / "all"))
    chosen = {"run": str(tmp_path / "run"), "use_all": "val"}
    write_json(copy.config, {**read_json(copy.config), "chosen_by": chosen})
    words = shlex.split(how_it_was_made(copy).command)
    assert words[words.index("--run") + 1] == chosen["run"]
    assert words[words.index("--use-all") + 1] == "val"


def test_a_run_without_a_history_that_can_be_read_has_a_report_without_curves(finished, tmp_path):
    copy = Run(shutil.copytree(finished.path, tmp_path / "run"))
    copy.history.write_text("epoch,phase\nx,y\n")
    assert how_it_was_made(copy).history.empty
    copy.history.unlink()
    assert how_it_was_made(copy).history.empty
    write_json(copy.config, {**read_json(copy.config), "data": {"images": "many"}})
    with pytest.raises(UserError, match=r"config\.json' is not as a run writes it"):
        how_it_was_made(copy)
