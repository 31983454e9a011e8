"""A small part of the campaigns of damaged files; tests/campaigns has the whole ones."""

from pipelines.finetune import finetune
from tests.campaigns.run_files import campaign
from tests.conftest import small_config

OPTIONS = "--weights none --image-size 32 --epochs 1 --batch-size 8 --val-fraction 0.3 --arch "


def test_damaged_files_of_a_run_give_the_right_answer_or_one_clear_line(images, tiny, tmp_path):
    run = finetune(small_config(images, tmp_path / "run", arch=tiny, val_fraction=0.3))
    codes, failures = campaign(run.path, images, count=12, seed=3, finetune=OPTIONS + tiny)
    assert failures == []
    assert codes[0] > 0
    assert codes[2] > 0
