# A static binary in an empty image, run by nobody in particular:
#   docker build --build-arg COMMIT=$(git rev-parse HEAD) -t evenkeel:0.1.0 .
FROM rust:1.95-alpine AS build
RUN apk add --no-cache build-base libcap-setcap
WORKDIR /src
COPY . .
ARG COMMIT=unknown
ENV EVENKEEL_COMMIT=${COMMIT}
# Alpine's target is musl, and links statically by itself.
RUN cargo build --release --locked -p evenkeel && cp target/release/evenkeel /evenkeel
# Nobody in particular gets from a container's `capabilities: add` only what the program's file permits. Permitted, not effective: it starts
# also where nothing is added, and the data plane alone makes use of it.
RUN setcap cap_net_bind_service,cap_net_admin=p /evenkeel

FROM scratch
COPY --from=build /evenkeel /evenkeel
USER 65532:65532
ENTRYPOINT ["/evenkeel"]
