# A machine with sacbrax on it, for the CPU or, by `--build-arg ACCELERATOR=cuda12` (or cuda13), for NVIDIA's GPUs: JAX's
# wheels bring CUDA with them, so both start from the same image. docs/getting_started.md has the commands.
FROM python:3.11-slim-bookworm

ARG ACCELERATOR=cpu

# What pictures are drawn with; Debian keeps one version of each.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/sacbrax
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY configs configs
COPY sacbrax sacbrax
RUN case "$ACCELERATOR" in \
        cpu) extras=gymnasium,plot,video,export,tensorboard ;; \
        cuda12|cuda13) extras="gymnasium,plot,video,export,tensorboard,$ACCELERATOR" ;; \
        *) echo "ACCELERATOR: $ACCELERATOR is none of cpu, cuda12, cuda13" >&2; exit 2 ;; \
    esac \
    && pip install --no-cache-dir --constraint constraints.txt ".[$extras]" \
    && useradd --create-home --uid 1000 sacbrax \
    && install --directory --owner=sacbrax /runs

# Of the container toolkit: the GPUs, for computing and for drawing.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics

USER 1000
WORKDIR /runs
ENTRYPOINT ["sacbrax"]
CMD ["--help"]
