"""Completion of commands, options and values, in the shells themselves."""

import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from pipelines.cli import main
from pipelines.config.verbs import VERBS


@pytest.fixture
def script(tmp_path, capsys):
    def write(shell):
        assert main(["completion", shell]) == 0
        file = tmp_path / f"completion.{shell}"
        file.write_text(capsys.readouterr().out)
        return file

    return write


def needed(shell):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


def test_bash_completes_verbs_options_and_values(script):
    ask = f"source {script('bash')}; COMP_WORDS=($1); COMP_CWORD=$2; _resnet_tf; echo ${{COMPREPLY[*]}}"

    def completed(words, number):
        command = [needed("bash"), "-c", ask, "bash", words, str(number)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert completed("resnet-tf fine", 1) == ["finetune"]
    assert completed("resnet-tf help ev", 2) == ["evaluate"]
    assert completed("resnet-tf finetune photos --learn", 3) == ["--learning-rate"]
    assert completed("resnet-tf evaluate --split t", 3) == ["train", "test"]
    assert set(VERBS) <= set(completed("resnet-tf", 1))


def test_fish_completes_verbs_options_and_values(script):
    def completed(words):
        ask = f"source {script('fish')}; complete -C '{words}'"
        command = [needed("fish"), "--no-config", "-c", ask]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [line.split("\t")[0] for line in found.splitlines()]

    assert completed("resnet-tf fine") == ["finetune"]
    assert completed("resnet-tf finetune --learn") == ["--learning-rate"]
    assert completed("resnet-tf evaluate --split t") == ["test", "train"]


def test_zsh_completes_verbs_options_and_values(script):
    shell, file = needed("zsh"), script("zsh")
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="dumb", PS1="> ")
        os.execv(shell, ["zsh", "-f", "-i"])

    def shown_until(text, keys, seconds=20.0):
        os.write(terminal, keys.encode())
        out, end = "", time.monotonic() + seconds
        while text not in out and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                out += os.read(terminal, 65536).decode(errors="replace").replace("\x07", "")  # the bell
        return out

    try:
        shown_until("READY\r", f"autoload -Uz compinit; compinit -u -D; source {file}; echo READ''Y\n")
        assert "finetune " in shown_until("finetune ", "resnet-tf finet\t")
        assert "evaluate --split " in shown_until("--split ", "\x15resnet-tf evaluate --spl\t")
        assert "test " in shown_until("test ", "te\t")
    finally:
        os.write(terminal, b"\x15exit\n")
        os.waitpid(process, 0)
        os.close(terminal)
