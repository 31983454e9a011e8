"""Makes Keras know the classes of this package, without importing Keras before somebody needs it.

Files of earlier versions have layers of ours in them, which `keras.saving.load_model` finds where they are registered.
Registering them takes Keras, and Keras takes seconds to import. So `import resnet_tf` registers them at once where
Keras is there already, and otherwise as soon as Keras has been imported, by whomever.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

# Files of training before model.keras held standard layers alone have its loss and its optimizer in them, too. Models
# that were compiled with replacements of tensorflow-addons have those.
_MODULES = ("batch_normalization", "layers", "losses", "optimizers", "loss_scaling", "addons")


def register() -> None:
    """Imports what registers the classes of this package."""
    for module in _MODULES:
        import_module(f"resnet_tf.{module}")


def register_with_keras() -> None:
    """Registers now, or right after the import of Keras."""
    if "keras" in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _AfterKeras())


class _AfterKeras:
    """Finds Keras by way of all other finders, and registers once its module has been executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "keras":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                register()

            # The loader belongs to this spec alone, and keeps everything else that it does.
            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
