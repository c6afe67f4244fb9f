# Two stages: the binary is built, then stands alone in an image without a shell.
# Both bases are arguments, so that a site can put its own mirrors in their place.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked \
 && install -D -m 0755 target/release/tripline /out/usr/bin/tripline \
 && install -d -m 0700 /out/var/lib/tripline \
 && install -D -m 0644 deploy/container/tripline.yaml /out/etc/tripline/tripline.yaml \
 && install -d -m 0755 /out/etc/tripline/rules

FROM ${RUN_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tripline" \
      org.opencontainers.image.description="Event daemon for UiPath Orchestrator: webhooks in, kept on disk, matched by rules, follow-up work out" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build --chown=0:0 /out/usr/bin/tripline /usr/bin/tripline
COPY --from=build --chown=0:0 /out/etc/tripline /etc/tripline
COPY --from=build --chown=65532:65532 /out/var/lib/tripline /var/lib/tripline
# The last two: what large bodies and long lists took for a moment goes back to the system.
ENV TRIPLINE_LISTEN=0.0.0.0:8080 \
    TRIPLINE_STATE=/var/lib/tripline \
    MALLOC_MMAP_THRESHOLD_=1048576 \
    MALLOC_TRIM_THRESHOLD_=2097152
USER 65532:65532
VOLUME ["/var/lib/tripline"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/usr/bin/tripline", "healthcheck", "-c", "/etc/tripline/tripline.yaml"]
ENTRYPOINT ["/usr/bin/tripline"]
CMD ["run", "-c", "/etc/tripline/tripline.yaml"]
