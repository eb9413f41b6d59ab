# The image contains the four services and the operators' commands; the arguments select one of them.
#   docker build -t sluice .                      for a release: --build-arg PYTHON_IMAGE=python@sha256:...
# compose.yaml runs the image beside the demo's sink; the chart in helm/ runs it on Kubernetes.
# tests/chart/test_image.py repeats each COPY and the SBOM step without Docker.
ARG PYTHON_IMAGE=python:3.13.12-slim-trixie

FROM ${PYTHON_IMAGE} AS packages
ARG UV_VERSION=0.13.9
WORKDIR /build
COPY pyproject.toml uv.lock ./
# The lock file contains no index URL (docs/decisions/0001-lock-without-hosts.md). So versions and
# hashes are exported, and pip downloads the packages from the index that pip is configured to use.
RUN pip install --no-cache-dir "uv==${UV_VERSION}" \
    && uv export --frozen --no-emit-project --no-default-groups -o requirements.txt \
    && python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --require-hashes -r requirements.txt
# The SBOM (CycloneDX) of the Python packages, for scanners.
RUN uv export --frozen --no-emit-project --no-default-groups --format cyclonedx1.5 -o sbom.json \
    && sed -i 's/?repository_url=[^"]*//' sbom.json

FROM ${PYTHON_IMAGE} AS base
# A running container never installs packages, so pip is removed.
RUN groupadd --system --gid 10001 sluice \
    && useradd --system --uid 10001 --gid 10001 --no-create-home sluice \
    && pip uninstall --yes --root-user-action=ignore pip
COPY --from=packages /venv /venv
COPY --from=packages /build/sbom.json /usr/share/sbom/sluice.cdx.json
WORKDIR /app
COPY services services
COPY shared shared
COPY cli cli
COPY launcher/__init__.py launcher/__init__.py
COPY launcher/commands.py launcher/commands.py
COPY launcher/image.py launcher/image.py
# `sluice COMMAND` in a container, for operators.
RUN chmod 0755 launcher/image.py && ln -s /app/launcher/image.py /usr/local/bin/sluice
# The root of a running container is read-only, so the modules are compiled here.
RUN python -m compileall -q /app
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 SLUICE_TELEMETRY__HTTP_HOST=0.0.0.0 SLUICE_TELEMETRY__HTTP_PORT=9100
# The user is given by number, so that Kubernetes can see that the user is not root.
USER 10001:10001
# 9100: /live, /ready and /metrics of every service; 8080: the HTTP API of billing.
EXPOSE 9100 8080
ENTRYPOINT ["python", "-m"]

# The demo's SMTP server, for compose.yaml only.
FROM base AS sink
COPY local/__init__.py local/__init__.py
COPY local/sink local/sink
CMD ["local.sink", "--help"]

# The default: the last stage.
FROM base AS services
LABEL org.opencontainers.image.title="Sluice" \
    org.opencontainers.image.description="Dispatches e-mail from Kafka"
CMD ["services.ingest", "serve"]
