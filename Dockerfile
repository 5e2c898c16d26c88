# Builds the service; the image contains only the service and runs it as an unprivileged user. The service
# needs a Postgres outside the image (DATABASE_URL).
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs config.yaml ./
COPY migrations migrations
COPY benches benches
COPY crates crates
COPY src src
RUN cargo build --profile dist --locked --bin lottery

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
# On all addresses of the container. The sandbox needs LOTTERY__PAYMENTS__ALLOW_SANDBOX=true for that.
ENV LOTTERY__SERVER__HOST=0.0.0.0 \
    LOTTERY__LOG__FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["lottery", "health"]
ENTRYPOINT ["lottery"]
