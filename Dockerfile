# One image for all: queue hosts, consumers, schedulers, the operator, dask-kubernetes' operator, and Jobs of users.
#   docker build -t daskqueue:dev .
#   docker build -t daskqueue:dev --build-arg PACKAGES="numpy pandas" .    # what your tasks import, into the same environment
ARG PYTHON_IMAGE=python:3.12-slim


# ---- what daskqueue needs: changes seldom, and is the large layer
FROM ${PYTHON_IMAGE} AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv --without-pip /opt/daskqueue && python3 -m pip install --quiet "hatchling>=1.26"
WORKDIR /src
COPY pyproject.toml ./
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      print(*project['dependencies'], *project['optional-dependencies']['operator'], sep='\n')" > requirements.txt \
 && python3 -m pip --python /opt/daskqueue/bin/python install --quiet --no-compile --requirement requirements.txt
ARG PACKAGES=""
RUN [ -z "$PACKAGES" ] || python3 -m pip --python /opt/daskqueue/bin/python install --quiet --no-compile $PACKAGES
# dask-kubernetes names three Kubernetes clients that it does not import; kopf imports each one that it finds.
# They are more than half of the environment. Tests and C sources are of no use in a pod.
RUN python3 -m pip --python /opt/daskqueue/bin/python uninstall --quiet --yes kubernetes kubernetes-asyncio pykube-ng \
 && find /opt/daskqueue/lib -type d -name tests -prune -exec rm -r {} + \
 && find /opt/daskqueue/lib \( -name '*.c' -o -name '*.pyx' \) -delete \
 && python3 -m compileall -qf -j 0 --invalidation-mode unchecked-hash /opt/daskqueue/lib


# ---- daskqueue itself: a small layer, made anew at each change
FROM dependencies AS package
COPY . .
RUN python3 -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /dist . \
 && python3 -m pip --python /opt/daskqueue/bin/python install --quiet --no-compile --no-warn-script-location --no-deps --root /package /dist/*.whl \
 && python3 -m compileall -qf -j 0 --invalidation-mode unchecked-hash -s /package -p / /package/opt/daskqueue/lib \
 && install -D -m 755 image/entrypoint /package/usr/local/bin/daskqueue-entrypoint


FROM ${PYTHON_IMAGE}
# Official Python images have no compiled standard library, and a pod with a read-only root would compile it at each start.
RUN python3 -c "import compileall, py_compile, re, sysconfig; \
      compileall.compile_dir(sysconfig.get_path('stdlib'), quiet=2, workers=0, legacy=False, \
        rx=re.compile(r'/(site-packages|dist-packages|test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip|pydoc_data)/'), \
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)" \
 && echo 'daskqueue:x:10001:' >> /etc/group \
 && echo 'daskqueue:x:10001:10001:daskqueue:/tmp:/usr/sbin/nologin' >> /etc/passwd
COPY --from=dependencies /opt/daskqueue /opt/daskqueue
COPY --from=package /package /
# HOME is /tmp: the one folder that a pod with a read-only root can write to.
ENV PATH=/opt/daskqueue/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# What the image cannot do without fails here and not in a pod.
RUN python -c "import daskqueue, dask_kubernetes.operator.controller, kopf, lightkube" && daskqueue --version
USER 10001:10001
WORKDIR /tmp
EXPOSE 8786 8787 8788 9090
ENTRYPOINT ["daskqueue-entrypoint"]
CMD ["python"]
