"""The experiments of the papers, on networks of eight layers and images of noise."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines import cli, thirty_classes
from pipelines.config.experiments import EXPERIMENT_NAMES, SCALE_NAMES
from pipelines.experiments import depth, table, training
from pipelines.experiments.cifar10 import CLASSES, Images, read_cifar10, synthetic
from pipelines.experiments.networks import find_network
from pipelines.experiments.on_tensorflow import Trainer
from pipelines.experiments.recipe import Recipe
from pipelines.experiments.surface import Grid, loss_surface, share_of_negative_curvature
from pipelines.experiments.table import Scale
from resnet_tf.architectures import ARCHITECTURES, BASIC, Architecture
from resnet_tf.errors import UserError

EIGHT = Architecture(
    "cifar_resnet8", "cifar", BASIC, (1, 1, 1), (4, 8, 16), (1, 2, 2), stem=4, shortcut="A", image_size=32
)
PIXELS = synthetic(80).pixels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a zip of four images of each class for training, and as many for the test."""
    path = tmp_path_factory.mktemp("cifar") / "cifar10.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, pixels in enumerate(PIXELS):
            split, label = ("train", "test")[number // 40], CLASSES[number % 10]
            archive.writestr(f"cifar10/{split}/{label}/{number:04d}.png", _png(pixels))
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the experiments small: eight layers, two epochs of two steps, saved after each."""
    monkeypatch.setitem(ARCHITECTURES, EIGHT.name, EIGHT)
    monkeypatch.setitem(table.SCALES, "quick", Scale(4, 40, 20, batch_size=20, seeds=1))
    monkeypatch.setattr(training, "SAVED_EVERY", 0.0)
    monkeypatch.setitem(table.EXPERIMENTS["identity-mappings"].networks, "quick", ("resnet8", "preact8"))
    monkeypatch.setitem(depth._GRIDS, "quick", Grid(3, 20))
    for name in ("degradation", "depth", "responses"):
        monkeypatch.setitem(table.EXPERIMENTS[name].networks, "quick", ("plain8", "resnet8"))


@pytest.mark.usefixtures("small")
def test_an_experiment_is_the_same_each_time_and_after_a_stop(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, stopped = tmp_path / "<i>whole", tmp_path / "stopped"
    assert cli.main(["reproduce", "degradation", "--data", str(data), "--out", str(whole)]) == 0
    write, calls = training.Trainings._write, []

    def die_before_the_third(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(*arguments)  # type: ignore[arg-type]

    again = ["reproduce", "degradation", "--data", str(data), "--out", str(stopped)]
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainings, "_write", die_before_the_third)
        assert cli.main(again) == 130
    assert "the same command continues" in capsys.readouterr().err
    assert cli.main(again) == 0
    assert (stopped / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    rows = pd.read_csv(whole / "results.csv")
    assert rows.groupby("network")["iteration"].apply(list).to_dict() == {"plain8": [2, 4], "resnet8": [2, 4]}
    assert rows["training_error_at_rest"].notna().sum() == 2
    page = (whole / "page.html").read_text()
    assert "8.75 %" in page
    assert "data:image/png" in page
    assert "&lt;i&gt;whole" in page  # the command, with the folder's name
    assert "<i>whole" not in page
    assert (whole / "degradation.svg").read_bytes() == (stopped / "degradation.svg").read_bytes()
    for name in ("responses", "depth"):  # what is measured in the networks that are trained
        out = tmp_path / name
        assert cli.main(["reproduce", name, "--data", str(data), "--from", str(whole), "--out", str(out)]) == 0
    layers = pd.read_csv(tmp_path / "responses" / "responses.csv")
    assert layers.groupby("network").size().to_dict() == {"plain8": 7, "resnet8": 7}
    gradients = pd.read_csv(tmp_path / "depth" / "gradients.csv")
    assert set(gradients["moment"]) == {"start", "2", "end"}
    assert len(pd.read_csv(tmp_path / "depth" / "surface.csv")) == 2 * 3 * 3
    # The folder is that of another experiment.
    assert cli.main([*again, "--seeds", "2"]) == 2
    assert "another seeds" in capsys.readouterr().err


def test_rows_of_the_table_train_on_photos_and_those_without_weights_are_commands(
    images: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(thirty_classes, "NETWORKS", (tiny,))
    monkeypatch.setitem(thirty_classes.MINUTES, "quick", 0.05)
    words = ["reproduce", "thirty-classes", "--data", str(images), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert f"resnet-tf finetune {images} --run RUN --arch tiny --weights imagenet --seed 0 --minutes 0.05" in said
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert results[["network", "start"]].to_numpy().tolist() == [["tiny", "none"]]
    assert results["low"][0] < results["accuracy"][0] < results["high"][0] or results["accuracy"][0] in (0.0, 1.0)
    assert (tmp_path / "out" / "confusion_matrices.svg").stat().st_size


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["thirty-classes"], "thirty-classes needs photos"),
        (["thirty-classes", "--data", "absent"], "there is no folder or CSV 'absent'"),
        (["thirty-classes", "--data", ".", "--weights", "absent"], "received 'absent'"),
        (["degradation", "--weights", "imagenet"], "takes no ImageNet weights"),
        (["degradation"], "degradation needs images; --data takes CIFAR-10"),
        (["degradation", "--data", "absent.zip"], "there is no file 'absent.zip'"),
        (["degradation", "--from", "absent"], "cannot read 'absent/results.csv'"),
        (["responses", "--from", "absent"], "responses needs images"),
        (["bottleneck", "--data", "x"], "bottleneck looks at no images"),
        (["curvature"], "NAME must be one of degradation"),
        (["degradation", "--seeds", "0"], "--seeds must be between 1 and 100"),
    ],
)
def test_what_cannot_be_repeated_is_said_in_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", *words, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("out").exists() or not list(Path("out").glob("results*"))


def test_a_folder_with_other_files_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    assert cli.main(["reproduce", "degradation", "--data", str(data), "--out", str(tmp_path)]) == 2
    assert "has other files, such as 'thesis.txt'" in capsys.readouterr().err


def test_the_folder_the_zip_and_the_binary_archive_hold_the_same_images(data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(data) as archive:
        archive.extractall(tmp_path / "folder")
    binary = _binary_archive(tmp_path / "cifar-10-binary.tar.gz")
    with tarfile.open(binary) as tar:
        tar.extractall(tmp_path / "binary", filter="data")
    wanted = [_sorted(images) for images in read_cifar10(data)]
    for path in (tmp_path / "folder", binary, tmp_path / "binary"):
        for found, images in zip(wanted, map(_sorted, read_cifar10(path)), strict=True):
            np.testing.assert_array_equal(found, images)
    few = read_cifar10(data, 3, 2)
    assert [len(images.labels) for images in few] == [3, 2]
    np.testing.assert_array_equal(few[0].pixels, read_cifar10(data)[0].pixels[:3])


def test_the_archive_for_python_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.mkdir, (tmp_path / "owned",)  # type: ignore[return-value]

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    for path in (folder, tmp_path / "cifar-10-python.tar.gz"):
        with pytest.raises(UserError, match=r"is a pickle|a pickle, .* take the binary version"):
            read_cifar10(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("content", "said"), [(b"\x0a" + bytes(3072), "labels up to 10"), (bytes(100), "no whole records")]
)
def test_damaged_binary_files_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (tmp_path / f"{name}.bin").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_cifar10(tmp_path)


def test_links_out_of_the_folder_are_not_followed(data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(data) as archive:
        archive.extractall(tmp_path / "real")
    (tmp_path / "linked" / "train").mkdir(parents=True)
    for label in CLASSES:
        (tmp_path / "linked" / "train" / label).symlink_to(tmp_path / "real" / "cifar10" / "train" / label)
    with pytest.raises(UserError, match="has 0 of CIFAR-10's 10 classes in train/"):
        read_cifar10(tmp_path / "linked")


def test_a_gradient_without_batch_norm_is_the_slope_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, EIGHT.name, EIGHT)
    images = synthetic(20)
    trainer = training.make_trainer("resnet8", (images, images), 20)
    assert isinstance(trainer, Trainer)
    state = training.start_of("resnet8", trainer, 0)
    kernel, step = state[0][0], 1e-2
    slope = trainer.gradients(state, images, normalized=False)[0]
    place = np.unravel_index(np.abs(slope).argmax(), slope.shape)
    losses = []
    for sign in (1, -1):
        kernel[place] += sign * step
        trainer._take(state)
        logits = keras.ops.cast(trainer.network(trainer.normalized(images.pixels), training=False), "float32")
        losses.append(float(keras.ops.mean(keras.losses.sparse_categorical_crossentropy(images.labels, logits, True))))
        kernel[place] -= sign * step
    # The third derivative of the loss makes a difference of this size in float32.
    assert slope[place] == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=0.05)
    middle = loss_surface(trainer, state, images, Grid(3, 20))[1, 1]
    assert middle == pytest.approx(np.mean(losses), rel=0.01)


def test_a_preactivated_net_is_the_identity_where_its_branches_are_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, EIGHT.name, EIGHT)
    network = find_network("preact8").build()
    for variable in network.trainable_variables:
        if "_2_conv" in variable.path:
            variable.assign(np.zeros(variable.shape))
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3), "float32")
    stem, end = keras.Model(
        network.inputs, [network.get_layer(name).output for name in ("conv1_conv", "conv4_block1_out")]
    )(images)
    np.testing.assert_allclose(end[..., 6:10], stem[:, ::4, ::4], rtol=1e-6)  # option A, between channels of zeros


def test_curvature_tells_a_bowl_from_a_saddle() -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9))
    assert share_of_negative_curvature(x**2 + 3 * y**2 + x * y) == 0.0
    assert share_of_negative_curvature(x**2 - y**2) == 1.0
    assert share_of_negative_curvature(x * y) == 1.0


def test_the_learning_rate_falls_at_half_and_at_three_quarters() -> None:
    rates = Recipe(warm_up=2).rate_at(np.arange(8), 8, np)
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_the_command_line_knows_all_experiments() -> None:
    assert tuple(table.EXPERIMENTS) == EXPERIMENT_NAMES
    assert tuple(table.SCALES) == SCALE_NAMES


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _binary_archive(path: Path) -> Path:
    """Writes the images in the format of cs.toronto.edu/~kriz/cifar.html: label, red, green and blue, row by row."""
    records = [bytes([number % 10]) + pixels.transpose(2, 0, 1).tobytes() for number, pixels in enumerate(PIXELS)]
    files = {f"data_batch_{number + 1}.bin": records[8 * number : 8 * number + 8] for number in range(5)}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (*files.items(), ("test_batch.bin", records[40:])):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = sum(map(len, content))
            tar.addfile(info, io.BytesIO(b"".join(content)))
    return path


def _sorted(images: Images) -> np.ndarray:
    rows = np.concatenate([images.labels[:, None], images.pixels.reshape(len(images.labels), -1)], axis=1)
    return rows[np.lexsort(rows.T[::-1])]
