"""Asks a server about photos, with Python alone: python client.py PHOTO… [--url URL] [--protocol v2]."""

import argparse
import base64
import json
import pathlib
import struct
import urllib.request

MODEL = "{{ name }}"
URLS = {"v1": "http://127.0.0.1:8501", "v2": "http://127.0.0.1:8000"}


def ask_v1(url, contents):
    """Asks TensorFlow Serving. Returns a dictionary for each photo: probabilities, class_index, class_name, status."""
    instances = [{"b64": base64.b64encode(content).decode()} for content in contents]
    body = json.dumps({"signature_name": "serve_bytes", "instances": instances}).encode()
    return json.loads(post(f"{url}/v1/models/{MODEL}:predict", body, {}))["predictions"]


def ask_v2(url, contents):
    """Asks Triton, or another server of the open inference protocol; the bytes of the photos follow the JSON."""
    data = b"".join(struct.pack("<I", len(content)) + content for content in contents)
    tensor = {"name": "encoded", "shape": [len(contents), 1], "datatype": "BYTES"}
    names = "probabilities", "class_index", "class_name", "status"
    outputs = [{"name": name, "parameters": {"binary_data": False}} for name in names]
    request = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}], "outputs": outputs}
    header = json.dumps(request).encode()
    said = post(f"{url}/v2/models/{MODEL}/infer", header + data, {"Inference-Header-Content-Length": str(len(header))})
    found = {output["name"]: output["data"] for output in json.loads(said)["outputs"]}
    classes = len(found["probabilities"]) // len(contents)
    parts = [found["probabilities"][start : start + classes] for start in range(0, classes * len(contents), classes)]
    return [dict(zip(names, row)) for row in zip(parts, *(found[name] for name in names[1:]))]


def post(url, body, headers):
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="+", type=pathlib.Path)
    parser.add_argument("--protocol", choices=URLS, default="v1")
    parser.add_argument("--url")
    words = parser.parse_args()
    ask = {"v1": ask_v1, "v2": ask_v2}[words.protocol]
    answers = ask((words.url or URLS[words.protocol]).rstrip("/"), [photo.read_bytes() for photo in words.photos])
    for photo, answer in zip(words.photos, answers):
        if answer["status"] != "ok":
            print(f"{photo}: {answer['status']}")
        else:
            print(f"{photo}: {answer['class_name']} {max(answer['probabilities']):.3f}")


if __name__ == "__main__":
    main()
