#!/bin/sh
# Builds the image of the Dockerfile without a Docker daemon, runs it as it is meant to be run (read-only, not root, without
# capabilities, in namespaces of its own) and shows that a signed delivery through its port is answered 202 and that its
# HEALTHCHECK succeeds. Needs root, buildah, jq, curl, openssl, and Rust with the system's C compiler.
#
#   deploy/container/verify.sh [target-folder]
#
# The bases are made here, so that nothing is pulled: the builder is this machine's own /usr, Rust and crates, mounted read-only;
# the image to run in has the four C libraries that the binary is linked to, and nothing else. `target-folder` keeps what was
# compiled for the next time. Exit code 75 says that something needed is not there.
set -eu

cd "$(dirname "$0")/../.."
target=${1:-target/image}
for tool in buildah jq curl openssl unshare nsenter setpriv pgrep ip cargo; do
  command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed" >&2; exit 75; }
done
[ "$(id -u)" = 0 ] || { echo "skipped: this needs root" >&2; exit 75; }

work=$(mktemp -d)
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
b() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }
clean() {
  [ -z "${pid:-}" ] || kill -9 "$pid" 2>/dev/null || true
  ip netns delete tripline-verify >/dev/null 2>&1 || true
  b umount -a >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap clean EXIT INT TERM

cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
sysroot=$(rustc --print sysroot)
mkdir -p "$target" "$work/policy"
target=$(realpath "$target")
echo '{"default":[{"type":"insecureAcceptAnything"}]}' > "$work/policy/policy.json"

# The bases.
base=$(b from scratch)
root=$(b mount "$base")
mkdir -p "$root/usr" "$root/etc/ssl" "$root/tmp" "$root/proc" "$root/dev" "$root/root" "$root$cargo_home" "$root$sysroot"
ln -s usr/bin "$root/bin"; ln -s usr/lib "$root/lib"; ln -s usr/lib64 "$root/lib64"
cp /etc/passwd /etc/group /etc/resolv.conf "$root/etc/"
cp -r /etc/alternatives "$root/etc/" 2>/dev/null || true
b config --env "PATH=$sysroot/bin:/usr/bin:/bin" --env "CARGO_HOME=$cargo_home" --env "RUSTUP_HOME=$rustup_home" "$base"
# A quicker build, where the caller asks for one.
for variable in CARGO_PROFILE_RELEASE_LTO CARGO_PROFILE_RELEASE_CODEGEN_UNITS; do
  value=$(printenv "$variable" || true)
  [ -z "$value" ] || b config --env "$variable=$value" "$base"
done
b commit --signature-policy "$work/policy/policy.json" -q "$base" localhost/tripline-build-base >/dev/null

base=$(b from scratch)
root=$(b mount "$base")
for library in libc.so.6 libm.so.6 libgcc_s.so.1 ld-linux-x86-64.so.2; do
  path=$(ldd "$sysroot/bin/rustc" /usr/bin/env | grep -o "/[^ ]*/$library" | head -1)
  mkdir -p "$root$(dirname "$path")"
  cp -L "$path" "$root$path"
done
mkdir -p "$root/proc" "$root/run"
b commit --signature-policy "$work/policy/policy.json" -q "$base" localhost/tripline-run-base >/dev/null

echo "== building the image" >&2
set --
[ -d "$rustup_home" ] && set -- --volume "$rustup_home:$rustup_home:ro"
b build --signature-policy "$work/policy/policy.json" --format docker --pull-never "$@" \
  --volume /usr:/usr:ro --volume /etc/ssl:/etc/ssl:ro --volume "$cargo_home:$cargo_home" --volume "$target:/src/target" \
  --build-arg BUILD_IMAGE=localhost/tripline-build-base --build-arg RUN_IMAGE=localhost/tripline-run-base \
  --tag localhost/tripline-verify . >&2

image=$(b from --pull-never --signature-policy "$work/policy/policy.json" localhost/tripline-verify)
root=$(b mount "$image")
b inspect --type image localhost/tripline-verify | jq .Docker.config > "$work/config.json"
echo "image: $(jq -c '{User,Entrypoint,Cmd,Healthcheck: .Healthcheck.Test,Volumes,ExposedPorts}' "$work/config.json")"
[ "$(jq -r .User "$work/config.json")" = 65532:65532 ]
[ ! -e "$root/bin/sh" ] && [ ! -e "$root/usr/bin/sh" ]
echo "image: no shell; $(find "$root" -type f | wc -l) files, $(du -sm "$root" | cut -f1) MB, the binary $(stat -c %s "$root/usr/bin/tripline") bytes"

# Namespaces of its own for mounts, processes and the network; the image's user, environment and command; its root read-only.
secret=$(openssl rand -hex 24)
mkdir -p "$work/secrets" "$work/state"
printf '%s\n' "$secret" > "$work/secrets/webhook"
chown -R 65532:65532 "$work/state" "$work/secrets"
chmod 0700 "$work/state"; chmod 0400 "$work/secrets/webhook"
chmod 0755 "$work"
ip netns add tripline-verify
ip netns exec tripline-verify ip link set lo up
cat > "$work/start" <<START
set -eu
mount --make-rprivate /
mount --bind "$root" "$root"
mount --bind "$work/state" "$root/var/lib/tripline"
mount -t tmpfs -o size=1m,mode=755 tmpfs "$root/run"
mkdir "$root/run/secrets"
mount --bind "$work/secrets" "$root/run/secrets"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
exec env -i $(jq -r '.Env | @sh' "$work/config.json") setpriv --no-new-privs \\
  chroot --userspec=65532:65532 "$root" $(jq -r '.Entrypoint + .Cmd | @sh' "$work/config.json")
START
ip netns exec tripline-verify unshare --mount --pid --fork --kill-child sh "$work/start" > "$work/log" 2>&1 &
runtime=$!
pid=
inside() { nsenter --target "$pid" --mount --pid --net chroot --userspec=65532:65532 "$root" "$@"; }

# HEALTHCHECK as written in the image, until it says yes.
jq -r '.Healthcheck.Test[1:][]' "$work/config.json" > "$work/healthcheck"
set --
while read -r word; do set -- "$@" "$word"; done < "$work/healthcheck"
tries=0
until pid=$(pgrep -P "$runtime") && inside "$@" > "$work/health" 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -gt 150 ] || ! kill -0 "$runtime" 2>/dev/null; then
    echo "it does not become healthy:" >&2; cat "$work/log" "$work/health" >&2; exit 1
  fi
  sleep 0.2
done
echo "healthcheck: $* -> $(cat "$work/health")"

body='{"Type":"queueItem.added","EventId":"verify-1","Timestamp":"2026-11-22T10:00:00Z","Queue":{"Id":1,"Name":"Q"},"QueueItems":[{"Id":1,"Status":"New"}]}'
signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$secret" -binary | openssl base64 -A)
post() {
  ip netns exec tripline-verify curl -s -m 20 -o "$work/answer" -w '%{http_code}' -H "X-UiPath-Signature: $1" --data-binary "$body" \
    http://127.0.0.1:8080/hooks/orchestrator
}
status=$(post "$signature")
echo "signed delivery: $status $(cat "$work/answer")"
[ "$status" = 202 ]
status=$(post "YQ==")
echo "badly signed delivery: $status"
[ "$status" = 401 ]
echo "process: $(grep -E '^(Uid|CapEff|NoNewPrivs)' "/proc/$pid/status" | tr '\n\t' '  ')"
if inside /usr/bin/tripline init /etc/tripline/new > "$work/written" 2>&1; then echo "its root can be written" >&2; exit 1; fi
echo "writing below its root: $(tail -1 "$work/written")"
grep -q '^CapEff:.0000000000000000$' "/proc/$pid/status"

kill -TERM "$pid"
code=0; wait "$runtime" || code=$?
pid=
echo "SIGTERM: exit $code"
[ "$code" = 0 ]
if grep -q "$secret" "$work/log"; then echo "the secret is in the log" >&2; exit 1; fi
echo "the image is good"
