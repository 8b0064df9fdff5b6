# Images of the workers, for Dataflow and for Flink with Docker. docs/runners/dataflow.md has the commands.
#   docker build --target cpu --tag IMAGE .
#   docker build --target gpu --tag IMAGE .
# Beam's release and Python's minor version must be those of the machine that submits.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm
ARG BEAM_IMAGE=apache/beam_python3.11_sdk:2.77.0

FROM ${BEAM_IMAGE} AS beam

FROM ${PYTHON_IMAGE} AS build
# The compiler stays in this stage; Debian's own release pins it.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/spatialbeam
ENV PATH=/opt/spatialbeam/bin:${PATH} PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/default.lock requirements/image.lock requirements/
RUN pip install --no-deps --requirement requirements/default.lock --requirement requirements/image.lock
COPY pyproject.toml setup.py launcher.py README.md LICENSE NOTICE ./
COPY core core
COPY media media
COPY storage storage
COPY native native
COPY models models
COPY transforms transforms
COPY explore explore
COPY configs configs
COPY beam_pipeline beam_pipeline
# -I: what is installed, not the sources in this folder.
RUN pip install --no-deps --no-build-isolation . \
 && python -I -c "import native._native, beam_pipeline.graph"

FROM build AS build-gpu
COPY requirements/models.lock requirements/
# torch brings CUDA's runtime with it: an image of NVIDIA's would hold it twice. The compiler goes again.
RUN pip install --no-deps --requirement requirements/models.lock \
 && pip install --no-deps nvidia-cuda-nvcc==13.2.86 nvidia-cuda-crt==13.2.86 nvidia-nvvm==13.2.86 \
 && python -m native.cuda.build \
 && cp native/cuda/libspatialbeam_cuda.so /opt/spatialbeam/lib/python3.11/site-packages/native/cuda/ \
 && pip uninstall --yes nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm

FROM ${PYTHON_IMAGE} AS runtime
# OPENBLAS_*, OPENCV_IPP: boot's workers import NumPy before our packages do (core/determinism.py).
# The last one: else boot makes an environment of its own at each start, without our packages, and as root.
ENV PATH=/opt/spatialbeam/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SPATIALBEAM_MODELS=/opt/models \
    OPENBLAS_CORETYPE=Haswell \
    OPENBLAS_NUM_THREADS=1 \
    OPENCV_IPP=disabled \
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin worker
COPY --from=beam /opt/apache/beam /opt/apache/beam
# Weights, by default none: `--build-arg WEIGHTS=FOLDER` bakes in a models folder that lies in the build context.
ARG WEIGHTS=""
RUN --mount=type=bind,target=/context \
    mkdir /opt/models && if [ -n "${WEIGHTS}" ]; then cp -r "/context/${WEIGHTS}/." /opt/models/; fi
WORKDIR /home/worker
USER 10001
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM runtime AS gpu
COPY --from=build-gpu /opt/spatialbeam /opt/spatialbeam
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64

FROM runtime AS cpu
COPY --from=build /opt/spatialbeam /opt/spatialbeam
