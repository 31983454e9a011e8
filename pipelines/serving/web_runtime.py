"""ONNX Runtime for browsers: the two files of the npm package onnxruntime-web that a page needs.

No package on PyPI has them. So they are downloaded from npm's registry, once, and their hash is known; or `--runtime`
names the package where it is already.
"""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipelines.console.terminal import note_start
from resnet_tf.errors import UserError
from resnet_tf.weights.download import download
from resnet_tf.weights.sources import cache_folder

VERSION = "1.30.0"
_FILE = f"onnxruntime-web-{VERSION}.tgz"
_ADDRESS = f"https://registry.npmjs.org/onnxruntime-web/-/{_FILE}"
_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
_MEBIBYTES = 32  # of the download
# The script with its loader inside, for one thread, and the WebAssembly that it loads.
_SCRIPT, _WASM = "dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"
_DESCRIPTION = "package.json"
_MOST_BYTES = 64 * 2**20


class Runtime(NamedTuple):
    """The files of the runtime.

    Args:
        script: JavaScript, a module.
        wasm: The WebAssembly that it loads.
    """

    script: bytes
    wasm: bytes


def runtime_of(named: str | None) -> Runtime:
    """Returns the runtime, and downloads it first if that is necessary.

    Args:
        named: The npm package onnxruntime-web, as a folder or a .tgz file; None is the one that was downloaded.

    Raises:
        UserError: It could not be downloaded, or it is another package or version.
    """
    if named is None:
        return _from_archive(_downloaded())
    path = Path(named)
    if path.is_dir():
        return _from(named, lambda name: (path / name).read_bytes())
    if path.is_file():
        return _from_archive(path)
    raise UserError(f"there is no {named!r}; --runtime names the npm package onnxruntime-web, a folder or a .tgz file")


def _downloaded() -> Path:
    target = cache_folder() / _FILE
    if not target.is_file():
        note_start(f"downloading onnxruntime-web {VERSION} from npm, {_MEBIBYTES} MiB, once, to {target} …")
    try:
        return download(_ADDRESS, target, _SHA256)
    except UserError as error:
        raise UserError(f"{error}; or name it with --runtime") from error


def _from_archive(path: Path) -> Runtime:
    try:
        with tarfile.open(path, "r:gz") as archive:
            return _from(str(path), lambda name: _content(archive, name))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{str(path)!r} is no .tgz of the npm package onnxruntime-web: {error}") from error


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    """Returns one file of an npm package, in memory; nothing is unpacked."""
    member = archive.getmember(f"package/{name}")
    file = archive.extractfile(member) if member.isfile() and member.size <= _MOST_BYTES else None
    if file is None:
        raise KeyError(name)
    return file.read()


def _from(source: str, read: Callable[[str], bytes]) -> Runtime:
    """Returns the runtime after a look at what the package says of itself."""
    try:
        said = json.loads(read(_DESCRIPTION))
        found, runtime = f"{said['name']} {said['version']}", Runtime(read(_SCRIPT), read(_WASM))
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        raise UserError(f"{source!r} is not the npm package onnxruntime-web {VERSION}: {error}") from error
    if found != f"onnxruntime-web {VERSION}":
        raise UserError(f"{source!r} is {found}; name onnxruntime-web {VERSION}, which this export is tested with")
    return runtime
