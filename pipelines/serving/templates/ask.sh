#!/bin/sh
# Asks TensorFlow Serving about one photo: sh ask.sh PHOTO [URL]
set -eu
url=${2:-http://127.0.0.1:8501}
printf '{"signature_name": "serve_bytes", "instances": [{"b64": "%s"}]}' "$(base64 < "$1" | tr -d '\n')" |
  curl --silent --show-error --fail-with-body --data-binary @- "$url/v1/models/{{ name }}:predict"
