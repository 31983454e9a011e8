# resnet-tf on processors: docker build -t resnet-tf .
# docker run --rm --user "$(id -u)" -v "$PWD:/work" resnet-tf photos
# The wheel is built in one image and installed in another, which has neither the sources nor a compiler.
FROM python:3.13.7-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13.7-slim-bookworm
COPY requirements.txt requirements-hub.txt /tmp/
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --no-compile -r /tmp/requirements-hub.txt \
    && pip install --no-cache-dir --no-compile --no-deps /tmp/wheels/*.whl \
    && rm -rf /tmp/wheels /tmp/requirements*.txt \
    && useradd --create-home --uid 1000 user
# Downloaded weights stay with the photos, so that the next container finds them.
ENV KERAS_HOME=/work/.keras HF_HOME=/work/.huggingface PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp
USER 1000
WORKDIR /work
ENTRYPOINT ["resnet-tf"]
CMD ["--help"]
