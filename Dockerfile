# Builds the service, then runs it alone, as nobody in particular.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock config.yaml ./
COPY migrations migrations
COPY src src
RUN cargo build --release --locked

FROM debian:bookworm-slim
# By which a payment provider's address is believed.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --create-home --home-dir /var/lib/lottery lottery
COPY --from=build /build/target/release/lottery /usr/local/bin/lottery
USER lottery
WORKDIR /var/lib/lottery
ENV LOTTERY__SERVER__HOST=0.0.0.0 \
    LOTTERY__LOG__FORMAT=json
EXPOSE 8080
ENTRYPOINT ["lottery"]
