# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
# The C code of the dependencies (aws-lc, SQLite, zlib, mimalloc) takes a C compiler and nothing else.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# What portcullis_build_info says: docker build --build-arg COMMIT="$(git rev-parse HEAD)"
ARG COMMIT=unknown
ENV PORTCULLIS_COMMIT=$COMMIT
# The caches speed up a second build; what is kept is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin portcullis \
    && cp target/dist/portcullis /usr/local/bin/portcullis

FROM debian:bookworm-slim
# ca-certificates: upstreams and issuers are reached over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/portcullis --create-home --shell /usr/sbin/nologin portcullis
COPY --from=build /usr/local/bin/portcullis /usr/local/bin/portcullis
COPY LICENSE /usr/share/doc/portcullis/LICENSE

USER 10001
# Relative paths in a config start at the config's folder. Name the store by its whole path:
# `store: "sqlite:/var/lib/portcullis/portcullis.db"`.
WORKDIR /var/lib/portcullis
VOLUME /var/lib/portcullis

# Gateway over TLS and plain, control plane, metrics and health.
EXPOSE 8443 8080 8081 9090

ENTRYPOINT ["portcullis"]
CMD ["serve", "--config", "/etc/portcullis/portcullis.yaml"]
