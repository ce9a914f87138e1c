# `sltt serve` in a container. It has not been built yet: try it before you rely on it.
#
#   docker build -t sltt .
#   docker run -p 127.0.0.1:8080:8080 -v sltt-data:/data sltt
#
# The build takes its base image from the registry and its packages from pip, locked and with hashes; nothing else.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/sltt
COPY requirements/run.txt requirements/
RUN /opt/sltt/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements/run.txt
COPY pyproject.toml MANIFEST.in README.md LICENSE ./
COPY src src
# setuptools is in the lock, so no build isolation: nothing is loaded that has no hash. Neither it nor pip stays.
RUN /opt/sltt/bin/pip install --no-cache-dir --no-deps --no-index --no-build-isolation . \
    && /opt/sltt/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim
COPY --from=build /opt/sltt /opt/sltt
RUN useradd --uid 10001 --no-create-home --home-dir /data sltt \
    && install --directory --owner sltt --group sltt /data
# A number, so that a cluster can see that it is not root.
USER 10001
ENV PYTHONUNBUFFERED=1
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s \
    CMD ["/opt/sltt/bin/python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/health', timeout=4)"]
# sltt listens on the loopback address only, unless it is told otherwise. A container's loopback address is reached by
# nothing outside it, so this listens on all of its addresses. There is no access control: publish the port to
# 127.0.0.1 (as above), or put a proxy in front that knows who may do what.
ENTRYPOINT ["/opt/sltt/bin/sltt"]
CMD ["serve", "--host", "0.0.0.0", "--open-to-network", "--no-auth", "--storage", "sqlite:/data/changes.db"]
