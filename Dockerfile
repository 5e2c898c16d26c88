# Builds the service; the image contains only the service and runs it as an unprivileged user. The service
# needs a Postgres outside the image (DATABASE_URL). README.md has the commands.
FROM rust:1.95-bookworm AS build
WORKDIR /build
# The dependencies, with an empty program in place of ours: they are compiled again only when one of these files changes.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY crates/private-postgres/Cargo.toml crates/private-postgres/
COPY crates/verifiable-draw/Cargo.toml crates/verifiable-draw/
RUN mkdir src crates/private-postgres/src crates/verifiable-draw/src \
    && touch src/lib.rs crates/private-postgres/src/lib.rs crates/verifiable-draw/src/lib.rs \
    && echo 'fn main() {}' >src/main.rs \
    && cargo build --profile dist --locked --bin lottery
COPY build.rs config.yaml ./
COPY build build
COPY migrations migrations
COPY web web
COPY crates crates
COPY src src
# The commit and its time (RFC 3339), for `lottery --version` and the labels: the repository is not copied.
ARG REVISION=
ARG CREATED=
# Cargo compares times, and a copied file may be older than the empty one that was compiled.
RUN touch src/lib.rs src/main.rs crates/*/src/lib.rs \
    && BUILD_COMMIT="$REVISION ${CREATED%%T*}" cargo build --profile dist --locked --bin lottery

FROM debian:bookworm-slim
# Certificate authorities, to verify payment providers and databases.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
# The service's files. A new volume gets the owner of this directory.
RUN useradd --system --uid 10001 --no-create-home --home-dir /var/lib/lottery lottery \
    && install -d -o lottery -g lottery -m 0700 /var/lib/lottery/data
COPY --from=build /build/target/dist/lottery /usr/local/bin/lottery
# The binary contains a list of common passwords, whose licence wants its notice beside each copy.
COPY LICENSE src/auth/weak_passwords.LICENSE /usr/local/share/doc/lottery/
USER 10001
WORKDIR /var/lib/lottery
VOLUME /var/lib/lottery/data
# On all addresses of the container. The sandbox needs LOTTERY__PAYMENTS__ALLOW_SANDBOX=true for that. Variables
# override a config.yaml that is mounted into the working directory.
ENV LOTTERY__SERVER__HOST=0.0.0.0 \
    LOTTERY__LOG__FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["lottery", "health"]
ENTRYPOINT ["lottery"]
ARG REVISION=
ARG CREATED=
# The time of the commit: so the same commit gives the same labels.
LABEL org.opencontainers.image.title="Lottery" \
      org.opencontainers.image.description="A lottery service: draws as actors, durable batches, Postgres as the truth" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.licenses="MIT"
