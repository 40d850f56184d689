# The tool server with the bundled model: slim, non-root, healthy when it answers.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY ketools ketools
RUN python -m venv /opt/ketools && /opt/ketools/bin/pip install --no-cache-dir .

FROM python:3.11-slim
COPY --from=build /opt/ketools /opt/ketools
RUN useradd --create-home --uid 10001 ketools && install -d -o ketools /data
USER ketools
ENV PATH=/opt/ketools/bin:$PATH KETOOLS_HOME=/data HF_HUB_OFFLINE=1
VOLUME /data
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8765/health').raise_for_status()"]
# Put a token file into /data first: ketools token new --name alice --scopes read,edit --spaces 'user/alice'
CMD ["ketools", "serve", "--http", "0.0.0.0:8765", "--tokens", "/data/tokens.json"]
