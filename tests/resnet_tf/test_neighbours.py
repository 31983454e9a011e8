"""What a file, its neighbours and its name say of the architecture, where tensors do not show it."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import resnet_tf
from resnet_tf.errors import UserError
from resnet_tf.weights import TORCH, load_weights, read_weights, write_weights
from resnet_tf.weights.neighbours import known_as
from tests.conftest import torch_tensors


@pytest.fixture(scope="module")
def plain(tmp_path_factory, small):
    """Returns a file of a network, in PyTorch's names, that nothing says anything of."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("plain") / "model.safetensors"
    save_file(torch_tensors(resnet_tf.build(small, classes=3)), path)
    return path


def beside(plain, folder, config):
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (folder / "model.safetensors").write_bytes(plain.read_bytes())
    return folder / "model.safetensors"


REFUSED_CONFIGS = [
    ({"architecture": "resnetaa50"}, "is of the architecture 'resnetaa50', says config.json beside it"),
    ({"architecture": "resnetblur50"}, "'resnetblur50'"),
    ({"architecture": "resnet50_gn", "num_classes": 10}, "'resnet50_gn'"),
    ({"architecture": "resnet18", "model_args": {"act_layer": "silu"}}, "builds it with act_layer='silu'"),
    ({"architecture": "resnet18", "model_args": {"output_stride": 8}}, "builds it with output_stride=8"),
    ({"architecture": "resnet18", "global_pool": "max"}, "builds it with global_pool='max'"),
    ({"architecture": "resnet18", "model_args": {"global_pool": "catavgmax"}}, "global_pool='catavgmax'"),
    ({"model_type": "resnet", "hidden_act": "gelu"}, "hidden_act='gelu'"),
    ({"model_type": "resnet", "downsample_in_first_stage": True}, "downsample_in_first_stage=True"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED_CONFIGS)
def test_a_config_beside_the_file_that_names_another_network_is_refused(config, message, plain, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        read_weights(beside(plain, tmp_path, config))
    assert "\n" not in str(caught.value)


TAKEN_CONFIGS = [
    {"architecture": "resnet18", "model_args": {"num_classes": 3}, "pretrained_cfg": {"tag": "a1"}},
    {"architecture": "tv_resnet50", "global_pool": "avg"},
    {"model_type": "resnet", "architectures": ["ResNetForImageClassification"], "hidden_act": "relu"},
    {"arguments": {"arch": "small"}},
    ["no", "object"],
    "no JSON at all",
    "[" * 100_000,
]


@pytest.mark.parametrize("config", TAKEN_CONFIGS, ids=lambda config: str(config)[:30])
def test_other_configs_beside_the_file_are_no_hindrance(config, plain, tmp_path):
    assert read_weights(beside(plain, tmp_path, config)).assumed


@pytest.mark.parametrize(("first", "expected"), [(True, "1x1"), (False, "3x3")])
def test_transformers_config_says_where_the_stride_is(first, expected, plain, tmp_path):
    config = {"model_type": "resnet", "layer_type": "bottleneck", "downsample_in_bottleneck": first}
    assert read_weights(beside(plain, tmp_path, config)).structure.stride_at == expected


@pytest.mark.parametrize(("key", "name"), [("architecture", "resnetaa50"), ("model_name", "timm/resnetblur50.bt_in1k")])
def test_metadata_that_name_another_network_are_refused(key, name, plain, tmp_path):
    save_file(load_file(plain), tmp_path / "x.safetensors", metadata={"format": "pt", key: name})
    with pytest.raises(UserError, match=f"says its metadata \\({key}\\)"):
        read_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize("metadata", [{"architecture": "ResNet-18"}, {"model_name": "my flowers"}, {"format": "pt"}])
def test_other_metadata_are_no_hindrance(metadata, plain, tmp_path):
    save_file(load_file(plain), tmp_path / "x.safetensors", metadata=metadata)
    assert read_weights(tmp_path / "x.safetensors").untold is ("architecture" not in metadata)


@pytest.mark.parametrize(
    "name",
    ["resnetaa50.safetensors", "resnetblur50-84f4748f.bin", "my-resnetaa50d.a1h.st", "resnet50_lpf4.x", "ResNet50-AA"],
)
def test_a_file_whose_name_is_that_of_a_network_without_tensors_of_its_own_is_refused(name, plain, tmp_path):
    (tmp_path / name).write_bytes(plain.read_bytes())
    with pytest.raises(UserError, match="by its name"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("folder", ["resnetblur50", "models--timm--resnetaa50.a1h_in1k/snapshots/0123456789abcdef"])
def test_a_folder_whose_name_is_that_of_such_a_network_is_asked_too(folder, plain, tmp_path):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "model.safetensors").write_bytes(plain.read_bytes())
    with pytest.raises(UserError, match="by its name"):
        read_weights(tmp_path / folder / "model.safetensors")


@pytest.mark.parametrize("name", ["resnet50_best.pt", "resnet50_flowers_blurred", "resnet18-5c106cde.pth", "aa.bin"])
def test_other_names_are_no_hindrance(name, plain, tmp_path):
    (tmp_path / name).write_bytes(plain.read_bytes())
    assert read_weights(tmp_path / name).untold


def test_the_report_says_what_was_assumed_where_nothing_names_the_network(plain, small, tmp_path, capsys):
    report = load_weights(resnet_tf.build(small, classes=3), plain)
    assert "nothing in the file or beside it names its architecture: taken for a plain small" in capsys.readouterr().out
    named = beside(plain, tmp_path, {"architecture": "resnet18"})
    assert len(load_weights(resnet_tf.build(small, classes=3), named).notes) == len(report.notes) - 1


def test_other_spellings_of_our_names_are_known():
    spellings = {"ResNet-50": "resnet50", "tv_resnet50": "resnet50", "timm/resnet18.a1_in1k": "resnet18"}
    spellings |= {"ResNet50V2": "resnet50v2", "resnet50v1.5": "resnet50", "resnet56": "cifar_resnet56"}
    assert {name: known_as(name) for name in spellings} == spellings
    assert [known_as(name) for name in ("resnet50d", "resnetaa50", "resnext50", "wide_resnet50_2", "")] == [None] * 5


def test_a_file_that_describes_itself_may_be_called_anything(small, tmp_path):
    (tmp_path / "resnetaa50").mkdir()
    for kind in ("keras", "npz", "weights.h5", "safetensors"):
        path = tmp_path / "resnetaa50" / f"resnetblur18.{kind}"
        write_weights(resnet_tf.build(small, classes=3), path, TORCH)
        assert not read_weights(path).assumed


def test_a_file_in_keras_names_is_asked_too(small, tmp_path):
    model = resnet_tf.build(small, classes=3)
    tensors = {f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights}
    np.savez(tmp_path / "resnetaa18.npz", **tensors)
    with pytest.raises(UserError, match="'resnetaa18' by its name"):
        read_weights(tmp_path / "resnetaa18.npz")
