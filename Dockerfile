# Two images: the tool server with its gateway (the last stage, built by default), and vLLM with ketools' plug-in:
#   docker build -t ketools .
#   docker build -t ketools-vllm --target vllm .
ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0

FROM python:3.11-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY ketools ketools
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

# Its dependencies are vLLM's own, so nothing else is installed beside it.
FROM ${VLLM_IMAGE} AS vllm
COPY --from=wheel /dist /dist
RUN python3 -m pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=wheel /dist /dist
RUN python -m venv /opt/ketools
RUN /opt/ketools/bin/pip install --no-cache-dir --extra-index-url ${TORCH_INDEX} "$(ls /dist/*.whl)[postgres]"

FROM python:3.11-slim
COPY --from=build /opt/ketools /opt/ketools
RUN useradd --create-home --uid 10001 ketools && install -d -o ketools /data /store
USER 10001
# /data is this server's own; with several servers /store is shared: see compose.yaml and docs/deploy.md.
ENV PATH=/opt/ketools/bin:$PATH KETOOLS_HOME=/data HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8765
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8765/health').raise_for_status()"]
# Without a token it refuses to serve; make one first:
#   docker run --rm -v ketools:/data ketools ketools token new --name alice --scopes read,edit --spaces 'user/alice'
CMD ["ketools", "serve", "--http", "0.0.0.0:8765"]
