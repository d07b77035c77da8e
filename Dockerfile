# The runbook without a person: `runbook verify` in a CronJob (docs/scheduled.md), load generators, weights.
#   docker build --tag ghcr.io/vllm-runbook/runbook:0.1.0 .
FROM python:3.13.7-slim-trixie AS build
WORKDIR /src
RUN python -m venv /opt/venv
COPY pyproject.toml setup.py README.md LICENSE ./
COPY lib lib
COPY notebooks notebooks
COPY params params
COPY manifests manifests
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check ".[s3,gs,abs]" \
    && /opt/venv/bin/pip uninstall --yes pip

# Nothing to build with, no package manager of Python's, nobody's root.
FROM python:3.13.7-slim-trixie
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/runbook
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
ENTRYPOINT ["runbook"]
CMD ["--help"]
