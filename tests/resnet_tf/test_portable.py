"""Files of whole networks open in plain Keras and in this package, those of earlier versions too."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest

import resnet_tf
from resnet_tf.architectures import ARCHITECTURES, choose_options
from resnet_tf.batch_normalization import FusedBatchNormalization
from resnet_tf.classifier import build_classifier, normalization_layer
from resnet_tf.errors import UserError
from resnet_tf.heads import classifier_head
from resnet_tf.layers import StochasticDepth
from resnet_tf.networks import build, stages_of
from resnet_tf.saved import load, load_model
from resnet_tf.weights import CAFFE, CIFAR, TENSORFLOW, TORCH, Preprocessing, load_weights, read_weights, write_weights
from resnet_tf.weights.loading import configs_of
from resnet_tf.weights.portable import portable_twin
from resnet_tf.weights.structure import structure_of
from tests.conftest import randomize, relative_error
from tests.networks import SMALL

CLASSES = ["daisy", "rose", "tulip"]
SIZE = 32
# The same sums of float32 in another order: a normalization's division becomes a product.
SAME = 1e-5
# Every channel has numbers of its own, so that none can be taken for another.
UNEVEN = Preprocessing((100.0, 110.0, 130.0), (50.0, 60.0, 80.0), "bgr")

NETWORKS = {
    "basic": ("small", {}),
    "bottleneck": ("slim50", {"stride_at": "3x3"}),
    "preactivated": ("slim50v2", {"preprocessing": TENSORFLOW}),
    "preactivated with option A": ("slim50v2", {"shortcut": "A"}),
    "cifar with option A": ("cifar_resnet20", {"preprocessing": CIFAR}),
    "vgg": ("slimvgg16_bn", {"image_size": SIZE}),
    "plain": ("small", {"shortcut": None}),
    "head of three stages": ("small", {"head_stages": 3, "head_pooling": "avg+max"}),
    "bgr": ("small", {"preprocessing": CAFFE}),
    "bgr with uneven channels": ("slimvgg16_bn", {"image_size": SIZE, "preprocessing": UNEVEN}),
    "bgr in the stem of caffe": ("slim50", {"preprocessing": UNEVEN, "stem_pool": "caffe", "stride_at": "1x1"}),
}
STOCHASTIC = "stochastic depth"


@pytest.fixture(scope="module", autouse=True)
def slim():
    """Networks of all families, with a sixteenth of their channels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, SMALL.name, SMALL)
        for name in ("resnet50", "resnet50v2", "vgg16_bn"):
            row = ARCHITECTURES[name].widened(1 / 16)
            slim_name = name.replace("resnet", "slim").replace("vgg", "slimvgg")
            patch.setitem(ARCHITECTURES, slim_name, replace(row, name=slim_name))
        yield


def pictures():
    return np.random.default_rng(3).integers(0, 256, (3, SIZE, SIZE, 3)).astype("uint8")


def logits(model):
    return np.asarray(model(pictures(), training=False))


def with_stochastic_depth():
    """A classifier that has every layer of ours."""
    row = ARCHITECTURES["cifar_resnet20"]
    images = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    stages = stages_of(normalization_layer(UNEVEN)(images), row, choose_options(row, stochastic_depth=0.5))
    return keras.Model(images, classifier_head(stages, row, len(CLASSES)), name=row.name)


@pytest.fixture(scope="module")
def files(slim, tmp_path_factory):
    """Name to (network, file, preprocessing)."""
    folder = tmp_path_factory.mktemp("files")
    written = {}
    for number, name in enumerate([*NETWORKS, STOCHASTIC]):
        preprocessing = UNEVEN
        if name == STOCHASTIC:
            model = with_stochastic_depth()
        else:
            architecture, options = NETWORKS[name]
            preprocessing = options.get("preprocessing", TORCH)
            model = build_classifier(architecture, len(CLASSES), **options)
        randomize(model, seed=number)
        path = folder / f"{number}.keras"
        write_weights(model, path, preprocessing, image_size=SIZE, classes=CLASSES)
        written[name] = model, path, preprocessing
    return written


# What somebody does who has Keras and none of this project's code.
PLAIN_KERAS = """
import sys
sys.modules["resnet_tf"] = sys.modules["pipelines"] = None  # importing them fails
import keras
import numpy as np
folder, *files = sys.argv[1:]
images = np.load(folder + "/images.npy")
for file in files:
    model = keras.saving.load_model(file, safe_mode=True)
    assert not model.compiled
    assert model.input.dtype == "uint8"
    assert model.dtype_policy.name == "float32"
    for layer in model.layers:
        assert getattr(keras.layers, type(layer).__name__) is type(layer), layer
        assert layer.trainable and layer.compute_dtype == "float32" or isinstance(layer, keras.layers.InputLayer), layer
        assert not getattr(layer, "synchronized", False), layer
    np.save(file + ".npy", np.asarray(model(images, training=False)))
"""


def test_plain_keras_opens_the_files_without_this_package(files, tmp_path):
    np.save(tmp_path / "images.npy", pictures())
    paths = [str(path) for _, path, _ in files.values()]
    command = [sys.executable, "-I", "-c", PLAIN_KERAS, str(tmp_path), *paths]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for name, (model, path, _) in files.items():
        assert relative_error(np.load(f"{path}.npy"), logits(model)) < SAME, name


def test_our_loader_gives_the_fast_network_with_the_same_logits(files):
    for name, (model, path, _) in files.items():
        loaded = load_model(path)
        kinds = {type(layer) for layer in loaded.layers}
        assert FusedBatchNormalization in kinds, name
        assert keras.layers.BatchNormalization not in kinds, name
        assert relative_error(logits(loaded), logits(model)) < SAME, name
        assert structure_of(configs_of(loaded)) == structure_of(configs_of(model)), name
        assert loaded.name == model.name


def test_the_tensors_of_a_file_go_with_its_preprocessing(files):
    """Also in a network that is built anew from both, in which nothing is turned around."""
    for name, (model, path, preprocessing) in files.items():
        file = read_weights(path)
        assert file.preprocessing == preprocessing.in_rgb(), name
        assert file.structure == structure_of(configs_of(model)), name
        if name == STOCHASTIC:
            continue
        architecture, options = NETWORKS[name]
        again = build_classifier(architecture, 3, **{**options, "preprocessing": file.preprocessing})
        assert load_weights(again, file, verbose=False).missing == []
        assert relative_error(logits(again), logits(model)) < SAME, name


def test_a_file_says_what_it_is(files):
    _, path, _ = files["bgr with uneven channels"]
    with zipfile.ZipFile(path) as archive:
        said = json.loads(archive.read("resnet_tf.json"))
    assert said["architecture"] == "slimvgg16_bn"
    assert (said["image_size"], said["classes"]) == (SIZE, CLASSES)
    assert said["versions"] == {"resnet_tf": resnet_tf.__version__, "keras": keras.__version__}
    assert said["preprocessing"]["channels"] == "rgb"
    assert said["preprocessing"]["mean"] == [130.0, 110.0, 100.0]


def test_a_file_that_plain_keras_has_saved_again_still_says_most_of_it(files, tmp_path):
    for name, (model, path, preprocessing) in files.items():
        keras.saving.load_model(path).save(tmp_path / "again.keras")
        file = read_weights(tmp_path / "again.keras")
        assert file.structure == structure_of(configs_of(model)), name
        np.testing.assert_allclose(file.preprocessing.mean, preprocessing.in_rgb().mean, rtol=1e-6)
        np.testing.assert_allclose(file.preprocessing.deviation, preprocessing.in_rgb().deviation, rtol=1e-6)
        assert not file.assumed


def test_weights_that_do_not_normalize_are_not_turned_around(tmp_path):
    model = build("cifar_resnet20", classes=3)
    write_weights(model, tmp_path / "bare.keras", CAFFE)
    file = read_weights(tmp_path / "bare.keras")
    assert file.preprocessing == CAFFE
    np.testing.assert_array_equal(file.tensors["conv1_conv/kernel"], np.asarray(model.get_layer("conv1_conv").kernel))


def test_what_training_wanted_of_a_network_is_not_in_its_file(tmp_path):
    model = build_classifier("small", 3, precision="bfloat16")
    for layer in model.layers:
        layer.trainable = False
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    model.compile("sgd", "mse")
    write_weights(model, tmp_path / "model.keras", TORCH)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    assert all(layer.trainable and layer.compute_dtype == "float32" for layer in loaded.layers[1:])
    assert not any(getattr(layer, "synchronized", False) for layer in loaded.layers)


def test_the_twin_of_stochastic_depth_drops_whole_residuals_as_often_as_ours():
    shortcut, residual = keras.Input((2, 2, 3)), keras.Input((2, 2, 3))
    model = keras.Model([shortcut, residual], StochasticDepth(0.7, seed=1, name="add")([shortcut, residual]))
    twin = portable_twin(model, TORCH).model
    ones, twos = np.ones((5, 2, 2, 3), "float32"), np.full((5, 2, 2, 3), 2.0, "float32")
    np.testing.assert_allclose(twin([ones, twos], training=False), 1.0 + 0.7 * twos, rtol=1e-6)
    kept = 0
    for _ in range(400):
        sums = np.asarray(twin([ones, twos], training=True))
        assert np.ptp(sums) == 0.0  # one draw for the whole batch
        assert sums.flat[0] in (1.0, pytest.approx(3.0, rel=1e-6))
        kept += sums.flat[0] > 2.0
    assert abs(kept / 400 - 0.7) < 0.1  # more than four standard deviations


def old_file(path, model, **description):
    """As earlier versions wrote it: layers of ours, what training had compiled, and a shorter description."""
    model.compile(resnet_tf.optimizers.FusedSGD(0.1), resnet_tf.losses.SmoothedCrossentropy(0.1))
    model.save(path)
    if description:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("resnet_tf.json", json.dumps(description))


@pytest.fixture(scope="module")
def old(slim, tmp_path_factory):
    """(network, file) with every layer of ours."""
    import resnet_tf.losses
    import resnet_tf.optimizers  # noqa: F401

    path = tmp_path_factory.mktemp("old") / "model.keras"
    model = with_stochastic_depth()
    randomize(model)
    old_file(
        path,
        model,
        preprocessing={"mean": UNEVEN.mean, "deviation": UNEVEN.deviation, "channels": "bgr"},
        structure={"shortcut": "A", "stochastic_depth": 0.5, "head_stages": 1},
    )
    return model, path


FRESH_PROCESS = """
import sys
import numpy as np
{imports}
model = {loader}
np.save(sys.argv[1] + ".npy", np.asarray(model(np.load(sys.argv[2]), training=False)))
"""


@pytest.mark.parametrize(
    ("imports", "loader"),
    [
        ("import resnet_tf, keras", "keras.saving.load_model(sys.argv[1])"),
        ("import keras, resnet_tf", "keras.saving.load_model(sys.argv[1])"),
        ("import resnet_tf", "resnet_tf.load(sys.argv[1]).model"),
    ],
)
def test_a_file_of_an_earlier_version_opens_after_the_import_of_the_package(imports, loader, old, tmp_path):
    model, path = old
    np.save(tmp_path / "images.npy", pictures())
    script = FRESH_PROCESS.format(imports=imports, loader=loader)
    command = [sys.executable, "-c", script, str(path), str(tmp_path / "images.npy")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert relative_error(np.load(f"{path}.npy"), logits(model)) < SAME


def test_to_ask_whether_keras_is_installed_imports_nothing():
    script = "import sys, importlib.util, resnet_tf; assert importlib.util.find_spec('keras').loader.get_code('keras')"
    script += "; assert 'keras' not in sys.modules; import keras; assert 'resnet_tf.layers' in sys.modules"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_file_of_an_earlier_version_loads_as_a_classifier(old):
    model, path = old
    path.with_name("classes.json").write_text(json.dumps(CLASSES))
    path.with_name("config.json").write_text(json.dumps({"arguments": {"image_size": 96}}))
    classifier = load(path)
    assert (classifier.classes, classifier.image_size) == (CLASSES, 96)
    assert classifier.preprocessing == UNEVEN
    assert relative_error(logits(classifier.model), logits(model)) < SAME
    assert structure_of(configs_of(classifier.model)) == structure_of(configs_of(model))


def test_a_classifier_comes_with_all_that_its_use_takes(files, tmp_path):
    model, path, preprocessing = files["basic"]
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").write_bytes(path.read_bytes())
    for place in (run, str(run), path):
        classifier = resnet_tf.load(place)
        assert (classifier.classes, classifier.image_size) == (CLASSES, SIZE)
        assert classifier.preprocessing == preprocessing
        assert relative_error(logits(classifier.model), logits(model)) < SAME


def test_a_network_whose_classes_nobody_has_named_loads_without_names(tmp_path):
    write_weights(build_classifier("small", 3), tmp_path / "model.keras", TORCH)
    classifier = load(tmp_path)
    assert (classifier.classes, classifier.image_size) == (None, None)


def test_what_is_not_a_classifier_is_one_line(files, tmp_path):
    with pytest.raises(UserError, match=r"there is no model .*nothing.keras"):
        load(tmp_path / "nothing.keras")
    with pytest.raises(UserError, match=r"there is no model .*model.keras"):
        load(tmp_path)
    (tmp_path / "half.keras").write_bytes(files["basic"][1].read_bytes()[:5000])
    build("small", classes=3).save(tmp_path / "foreign.keras")
    lambda_layer = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)])
    lambda_layer.save(tmp_path / "code.keras")
    write_weights(build_classifier("small", 2), tmp_path / "two.keras", TORCH, classes=CLASSES)
    for name, message in {
        "half": "is damaged or of another kind",
        "foreign": "does not say what its images must look like",
        "two": "has 2 outputs, and 3 classes are named",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            load(tmp_path / f"{name}.keras")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is damaged or of another kind"):
        load_model(tmp_path / "code.keras")
