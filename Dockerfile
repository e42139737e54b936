# The package in an image, with the locked requirements:
#
#   docker build -t vlp-zoo .
#   docker build -t vlp-zoo:cuda --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 .
#   docker run --rm -v "$PWD/runs:/runs" vlp-zoo fit --model ecamp
#   docker run --rm --gpus all --shm-size 8g -v /data:/data vlp-zoo:cuda bench --help
#
# torch's own wheels bring CUDA; the second base says which driver is asked for.
ARG BASE=python:3.12-slim
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git make \
    && (command -v python3 || apt-get install -y --no-install-recommends python3 python3-venv) \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/vlp-zoo
COPY . .
# What a container compiles is gone with it: compiled once, here.
RUN UV_COMPILE_BYTECODE=1 make setup
ENV PATH=/opt/vlp-zoo/.venv/bin:$PATH
WORKDIR /
ENTRYPOINT ["vlpzoo"]
CMD ["--help"]
