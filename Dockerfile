# One image for the four services and the demo's sink; compose.yaml says which one runs.
FROM python:3.13-slim AS packages
WORKDIR /build
COPY pyproject.toml uv.lock ./
# The lock names no index (docs/decisions/0001-lock-without-hosts.md): versions and hashes are
# exported from it, and pip takes them from the index it is configured for.
RUN pip install --no-cache-dir uv \
    && uv export --frozen --no-emit-project --no-default-groups -o requirements.txt \
    && python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt

FROM python:3.13-slim
RUN useradd --system --uid 10001 sluice
COPY --from=packages /venv /venv
WORKDIR /app
COPY services services
COPY shared shared
COPY cli cli
COPY local/__init__.py local/__init__.py
COPY local/sink local/sink
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 \
    SLUICE_TELEMETRY__HTTP_HOST=0.0.0.0 SLUICE_TELEMETRY__HTTP_PORT=9100
USER sluice
# 9100: /live, /ready and /metrics of every service; 8080: billing's own door.
EXPOSE 9100 8080
ENTRYPOINT ["python", "-m"]
CMD ["services.ingest", "serve"]
