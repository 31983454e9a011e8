"""The process of the campaign that reads files: paths come in by lines, and what became of each goes out as JSON."""

import json
import sys

import keras

import resnet_tf
from resnet_tf.errors import UserError
from tests.campaigns.weight_files import known_network, model_of


def main() -> None:
    with known_network():
        read(model_of())


def read(model: keras.Model) -> None:
    """Reads the files that standard input names."""
    print(json.dumps({"outcome": "ready"}), flush=True)
    for line in sys.stdin:
        outcome, detail = "loaded", ""
        try:
            resnet_tf.load_weights(model, line.rstrip("\n"), verbose=False)
        except UserError as error:
            outcome, detail = "refused", str(error)
            if "\n" in detail or len(detail) > 1000:
                outcome = "refused, but not in one line"
        except BaseException as error:  # what else there is, is what the campaign looks for
            outcome, detail = type(error).__name__, str(error)[:500]
        print(json.dumps({"outcome": outcome, "detail": detail}), flush=True)


if __name__ == "__main__":
    main()
