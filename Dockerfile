# Builds the service, then runs it alone, as nobody in particular. It wants a Postgres beside it (DATABASE_URL).
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock config.yaml ./
COPY migrations migrations
COPY benches benches
COPY crates crates
COPY src src
RUN cargo build --profile dist --locked --bin lottery

FROM debian:bookworm-slim
# By which the addresses of a payment provider and of a database are believed.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
# What the service keeps itself: a new volume there begins with its owner.
RUN useradd --system --uid 10001 --no-create-home --home-dir /var/lib/lottery lottery \
    && install -d -o lottery -g lottery -m 0700 /var/lib/lottery/data
COPY --from=build /build/target/dist/lottery /usr/local/bin/lottery
USER 10001
WORKDIR /var/lib/lottery
VOLUME /var/lib/lottery/data
ENV LOTTERY__SERVER__HOST=0.0.0.0 \
    LOTTERY__LOG__FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["lottery", "health"]
ENTRYPOINT ["lottery"]
