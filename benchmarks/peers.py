"""Makes the table of our recipe beside other people's: the same folds, network, weights and image size for all.

    python benchmarks/peers.py install fastai timm ultralytics autogluon --envs ENVS
    python benchmarks/peers.py run --data DATA --weights resnet18_imagenet.safetensors --out FOLDER \
        --envs ENVS --timm-script train.py [--only-data steel6 …] [--only-folds 0 1 …] [--only recipe logistic …]
    python benchmarks/peers.py table --out FOLDER [--against recipe]

DATA holds the folders natural30, grocery30, flowers12, steel6 and tiles6, and cifar10.zip, of which 100 images a class
are drawn. Each is divided into five folds, in which near-identical images, and the exposures of one tile, stay
together. In turn a fold is the test, and 15 % of the rest are for validation, to be used as each method does.

Every method is a process of its own, in an environment of its own where it is another project's. It gets folders of
links to the images of train, val and test, and answers with the probabilities of the test images. Its minutes are those
that a user waits, from the start of the command to a trained model; prediction is counted apart. A training that takes
longer than `--limit` minutes, or fails, is a row with its reason. All trainings use all cores, so run one at a time.

Rows that results.jsonl in FOLDER already has are not trained again, so that the table can be made in several sittings;
`--retry-failed` tries those again that failed. Further rows of our recipe are given as
`--variant NAME "--minutes 3 --view pad"`, with words for the command line of `resnet-tf finetune`. A variant must be
given with each call that is to train it; `table` knows it from the results. A run writes table.md and DATASET.png to
FOLDER as it goes: figures with 95 % intervals, and the paired differences to the row of `--against`.

What the others do:
  - logistic regression has the standardized averages of the last three stages, and C by an inner cross-validation;
  - it and plain SGD need no validation, so they learn its images as well;
  - the Keras guide, fastai's schedule and plain SGD run in our network: `benchmarks/peer_recipes.py`;
  - fastai has the transforms of its book, batches of 32, and a second row with its test-time augmentation;
  - timm's train.py is not in its wheel: `--timm-script` names that of a checkout of its repository. It has its own
    defaults but for rate (0.01), batch (32), decay (1e-4), epochs and one epoch of warm-up;
  - Ultralytics' weights cannot be had without a download, so its backbone is torchvision's network with our file;
  - AutoGluon has its own defaults, with timm's network and our file.
"""

import argparse
import itertools
import shlex
import signal
import subprocess
import sys
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peer_table.cases import CASES, prepare_case, prepare_fold
from benchmarks.peer_table.methods import ENVIRONMENTS, METHODS, MIRRORED, OURS, Method, recipe
from benchmarks.peer_table.page import write_page
from benchmarks.peer_table.results import Key, Result, read_results
from benchmarks.peer_table.training import FAILED, Setup, interpreter, measure
from pipelines.data.split import Fold
from resnet_tf.errors import UserError

ENVS = Path(".venv-peers")


def install(arguments: argparse.Namespace) -> None:
    """Makes an environment for each peer; one that cannot be made keeps the reason, for the table."""
    for name in arguments.peers:
        folder = arguments.envs / name
        venv.create(folder, with_pip=True, clear=True)
        command = [folder / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check"]
        done = subprocess.run([*command, *ENVIRONMENTS[name]], capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr[-400:]]
            (folder / FAILED).write_text(lines[-1])
        print(f"{name}: {'failed: ' + lines[-1] if done.returncode else 'installed'}", file=sys.stderr)


def run(arguments: argparse.Namespace) -> None:
    """Runs all trainings that are asked for and whose rows do not exist yet."""
    methods = chosen_methods(arguments.only, dict(arguments.variant))
    setup = Setup(
        arguments.out.resolve(),
        arguments.envs.resolve(),
        arguments.weights.resolve(),
        arguments.arch,
        arguments.image_size,
        arguments.limit,
        arguments.timm_script.resolve(),
    )
    absent = sorted(
        {each.environment for each in methods.values() if each.environment and not _usable(setup, each)} - {None}
    )
    for name in absent:
        print(f"{name} is left out; `python benchmarks/peers.py install {name}` installs it", file=sys.stderr)
    methods = {name: method for name, method in methods.items() if method.environment not in absent}
    numbers = arguments.only_folds if arguments.only_folds is not None else list(range(arguments.folds))
    wrong = [number for number in numbers if not 0 <= number < arguments.folds]
    if wrong:
        raise UserError(f"--only-folds must be between 0 and {arguments.folds - 1}, received {wrong[0]}")
    if not setup.weights.is_file():
        raise UserError(f"there are no weights at {str(arguments.weights)!r}; --weights names the safetensors file")
    setup.out.mkdir(parents=True, exist_ok=True)
    for number, data in itertools.product(numbers, arguments.only_data or CASES):
        source = prepare_case(data, arguments.data, setup.out, arguments.cifar_per_class)
        case = prepare_fold(data, source, setup.out / "folds", Fold(number, arguments.folds))
        for seed, (name, method) in itertools.product(range(arguments.seeds), methods.items()):
            keys = [(data, number, arguments.folds, row, seed) for row in method.rows(name)]
            if not missing(keys, read_results(setup.out), arguments.retry_failed):
                continue
            print(f"{data}, fold {number}, {name}, seed {seed} …", end=" ", file=sys.stderr, flush=True)
            print(_said(measure(setup, case, name, method, seed)), file=sys.stderr)
            write_table(setup.out, arguments.against, arguments.folds)


def chosen_methods(only: list[str] | None, variants: dict[str, str]) -> dict[str, Method]:
    """Returns the methods to train by name, our recipe and its variants first.

    Args:
        only: Names, or None for all.
        variants: More words on the command line of our recipe, by name.

    Raises:
        UserError: A name is unknown, or is not free for a variant.
    """
    for name in variants:
        if name in METHODS or name.endswith(MIRRORED) or not name.replace("-", "").isalnum():
            raise UserError(f"a variant cannot be called {name!r}; take other letters, digits and hyphens")
    own = {name: recipe(f"the recipe, `{words}`", shlex.split(words)) for name, words in variants.items()}
    methods = {OURS: METHODS[OURS], **own, **METHODS}
    unknown = [name for name in only or () if name not in methods]
    if unknown:
        raise UserError(f"there is no method {unknown[0]!r}; there are {', '.join(methods)}")
    return {name: method for name, method in methods.items() if only is None or name in only}


def missing(keys: list[Key], results: dict[Key, Result], retry_failed: bool) -> bool:
    """Returns whether a training is to be run: a row of it is missing, or failed and is to be tried again."""
    return any(key not in results or (retry_failed and results[key].reason) for key in keys)


def write_table(folder: Path, against: str, folds: int | None = None) -> str:
    """Writes the table and the figures of all results with this number of folds, and returns the table."""
    results = [result for result in read_results(folder).values() if folds in (None, result.folds)]
    known = {*METHODS, *(result.method for result in results)}
    if against not in known:
        raise UserError(f"--against must be one of {', '.join(sorted(known))}, received {against!r}")
    if len({(result.data, result.folds) for result in results}) > len({result.data for result in results}):
        raise UserError(f"{str(folder)!r} has results of several numbers of folds; --folds names one")
    return write_page(results, folder, against)


def _usable(setup: Setup, method: Method) -> bool:
    """Returns whether an environment is there, or is known not to be installable."""
    python = interpreter(setup.environments, method)
    return python.exists() or (python.parents[1] / FAILED).exists()


def _said(rows: list[Result]) -> str:
    if not rows:
        return "runs elsewhere"
    first = rows[0]
    if first.reason:
        return f"failed: {first.reason}"
    return f"accuracy {first.figures['accuracy']:.3f}, {(first.training_seconds or 0) / 60:.1f} minutes"


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    installing = verbs.add_parser("install", help="make the environments of other projects")
    installing.add_argument("peers", nargs="+", choices=list(ENVIRONMENTS))
    running = verbs.add_parser("run", help="train, and make the table")
    running.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    running.add_argument("--weights", type=Path, required=True, metavar="FILE")
    running.add_argument("--timm-script", type=Path, default=Path("train.py"), metavar="FILE")
    running.add_argument("--arch", default="resnet18")
    running.add_argument("--image-size", type=int, default=224, metavar="PIXELS")
    running.add_argument("--only-data", nargs="+", choices=CASES, metavar="NAME")
    running.add_argument("--only-folds", nargs="+", type=int, metavar="I")
    running.add_argument("--only", nargs="+", metavar="NAME")
    running.add_argument("--variant", nargs=2, action="append", default=[], metavar=("NAME", "WORDS"))
    running.add_argument("--seeds", type=int, default=1, metavar="N")
    running.add_argument("--limit", type=float, default=90.0, metavar="MINUTES")
    running.add_argument("--cifar-per-class", type=int, default=100, metavar="N")
    running.add_argument("--retry-failed", action="store_true")
    making = verbs.add_parser("table", help="make the table of the results so far")
    for verb in (installing, running):
        verb.add_argument("--envs", type=Path, default=ENVS, metavar="FOLDER")
    for verb in (running, making):
        verb.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        verb.add_argument("--against", default=OURS, metavar="NAME")
    running.add_argument("--folds", type=int, default=5, metavar="K")
    making.add_argument("--folds", type=int, metavar="K")
    return parser.parse_args(words)


def main() -> None:
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the training that runs is ended as well
    try:
        if arguments.verb == "install":
            install(arguments)
        elif arguments.verb == "run":
            run(arguments)
        else:
            print(write_table(arguments.out, arguments.against, arguments.folds))
    except (UserError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
