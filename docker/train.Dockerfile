# Training by papermill on an NVIDIA GPU. The driver is the host's (580 or newer); torch brings the rest of CUDA itself.
#   docker build -f docker/train.Dockerfile -t signs-train --build-arg COMMIT="$(git rev-parse HEAD)" .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD/runs:/work/runs" signs-train dataset=hands
# About 6.6 GB: 6.2 GB of ours, nearly all of it torch and CUDA, on a base of 0.4.

FROM nvidia/cuda:13.0.2-base-ubuntu24.04
# The distribution's own Python, with whatever security updates it has on the day of building.
# hadolint ignore=DL3008
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/signs
ENV PATH=/opt/signs/bin:$PATH HOME=/tmp SIGNS_DATA=/data XDG_CACHE_HOME=/cache \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /work
# What is needed comes before what we wrote, so that a change of ours downloads nothing again.
COPY settings.ini constraints.txt setup.py pyproject.toml README.md LICENSE ./
COPY signs_nbdev/__init__.py signs_nbdev/
RUN mkdir nbs && pip install --no-cache-dir --constraint constraints.txt --editable ".[train]"
COPY signs_nbdev signs_nbdev
COPY nbs/04_train.ipynb nbs/
RUN install --directory --mode=1777 runs /data /cache
# What each run says that it was made of; last, since it changes with every commit.
ARG COMMIT=
ENV SIGNS_COMMIT=$COMMIT
USER 10001:10001
ENTRYPOINT ["signs", "train"]
