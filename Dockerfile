# One image for every process of planmesh; the command selects the process. `docker compose build` makes it.
#
# To use your own package index: --build-arg PIP_INDEX_URL=...
FROM python:3.11-slim AS build
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/planmesh
COPY deploy/docker/requirements.lock /build/
RUN /opt/planmesh/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r /build/requirements.lock
COPY planmesh /app/planmesh
COPY services /app/services
COPY workers /app/workers
# Compile the kernels for every processor of the architecture, not only for this machine's, so that no serving process
# has to compile.
ENV NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/opt/planmesh/kernels PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1
RUN /opt/planmesh/bin/python -m compileall -q /app \
  && cd /app && /opt/planmesh/bin/python -m planmesh.local.warm search && /opt/planmesh/bin/python -m planmesh.local.warm graph

FROM build AS load-packages
COPY deploy/docker/load.lock /build/
RUN /opt/planmesh/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r /build/load.lock

FROM python:3.11-slim AS mesh
# curl makes the health calls: it speaks HTTP/2 and starts in a few milliseconds.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends curl && rm -rf /var/lib/apt/lists/* \
  && groupadd --gid 10001 planmesh && useradd --uid 10001 --gid planmesh --no-create-home --shell /usr/sbin/nologin planmesh \
  && install -d -o planmesh -g planmesh -m 0750 /data
COPY --from=build /opt/planmesh /opt/planmesh
COPY --from=build /app /app
COPY deploy/docker/fresh deploy/docker/healthy deploy/docker/planmesh deploy/docker/start /usr/local/bin/
ENV PATH=/opt/planmesh/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
  NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/tmp/kernels PLANMESH_IN_CONTAINER=true PLANMESH_DATA=/data HOME=/tmp
WORKDIR /app
USER planmesh
VOLUME /data
ENTRYPOINT ["start"]
CMD ["planmesh", "--help"]

# For `docker compose --profile load`: the mesh's image with Locust.
FROM mesh AS load
COPY --from=load-packages /opt/planmesh /opt/planmesh
COPY load /app/load
USER root
RUN install -d -o planmesh -g planmesh -m 0750 /reports
USER planmesh
VOLUME /reports

FROM mesh
