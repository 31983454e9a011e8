"""Runs commands in processes of their own, which may send themselves a signal within a step of training."""

import os
import time
from multiprocessing import get_context


def start(arguments, output, signals=(), **environment):
    """Starts a command; the fork server has imported TensorFlow already, which saves each process some seconds.

    Args:
        arguments: Arguments of the command.
        output: File for the output of the command, or a named pipe.
        signals: Triples of (epoch, number of the batch in it, signal).
        environment: Environment variables of the process; RESNET_TF_SLOW_WRITING is a time in seconds that it takes to
            write a file of weights.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["pipelines.finetune"])
    if not output.is_fifo():
        output.write_text("")
    process = context.Process(target=_command, args=(arguments, str(output), signals, environment))
    process.start()
    return process


def _command(arguments, output, signals, environment):
    handle = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ.update(environment)
    from pipelines.cli import main
    from pipelines.training.callback import TrainingCallback
    from resnet_tf.architectures import ARCHITECTURES
    from tests.networks import SMALL

    ARCHITECTURES[SMALL.name] = SMALL

    def begin(self, batch, logs=None):
        for *at, number in signals:
            if at == [self.progress.epochs_done, self.progress.steps_done]:
                os.kill(os.getpid(), number)

    TrainingCallback.on_train_batch_begin = begin
    _write_slowly(float(os.environ.get("RESNET_TF_SLOW_WRITING", "0")))
    raise SystemExit(main(arguments))


def _write_slowly(seconds):
    import pipelines.convert
    import pipelines.import_network

    for module in (pipelines.convert, pipelines.import_network) if seconds else ():
        original = module.write_weights

        def write(model, path, *arguments, original=original, **options):
            original(model, path, *arguments, **options)
            time.sleep(seconds)

        module.write_weights = write
