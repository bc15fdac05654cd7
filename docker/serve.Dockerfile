# The server, its page and the two ready models, on onnxruntime alone: no torch, no compiler, no shell script.
#   docker build -f docker/serve.Dockerfile -t signs .
#   docker run --rm -p 127.0.0.1:8000:8000 --read-only --tmpfs /tmp signs
# About 315 MB: 195 MB of ours (onnxruntime 78, NumPy 66, Pillow 23) on a base of 120, as `docker images` counts it.

FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/signs
# What is needed comes before what we wrote, so that a change of ours downloads nothing again.
COPY settings.ini constraints.txt setup.py pyproject.toml README.md LICENSE ./
COPY signs_nbdev/__init__.py signs_nbdev/
RUN mkdir nbs && python -m pip --python /opt/signs/bin/python install --no-cache-dir --constraint constraints.txt ".[serve]"
COPY signs_nbdev signs_nbdev
COPY nbs/04_train.ipynb nbs/
RUN python -m pip --python /opt/signs/bin/python install --no-cache-dir --no-deps --force-reinstall .

FROM python:3.12-slim
COPY --from=build /opt/signs /opt/signs
ENV PATH=/opt/signs/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
# By number, so that Kubernetes' runAsNonRoot can tell; the user owns nothing and may write nowhere but to /tmp.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["signs", "serve", "--host", "0.0.0.0"]
