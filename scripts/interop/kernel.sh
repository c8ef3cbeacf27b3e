#!/usr/bin/env bash
# The same tests against the WireGuard of the Linux kernel, in a virtual machine: that kernel runs on no namespace of a host
# that lacks the module. Not among the default peers, because each test boots a machine (some seconds without KVM).
#
#   scripts/interop/kernel.sh [--image-only] [OPTION of run.sh...] [TEST...]
#
# Kernel, modules and busybox come from the packages of this Debian (x86_64), unpacked and not installed; together with
# wg(8) they become target/peers/kernel/{vmlinuz,initramfs}, made once. Delete that folder to have them made anew.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
source "$here/../lib.sh"

PEERS=${VPN_PEERS_DIR:-$REPO/target/peers}
IMAGE=$PEERS/kernel
KERNEL_PACKAGE=linux-image-cloud-amd64                   # small, and made for virtual machines

main() {
  local image_only=''
  case ${1:-} in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; return ;;
    --image-only) image_only=yes; shift ;;
  esac
  need_root "$@"
  need_packages qemu-system-x86_64:qemu-system-x86 wg:wireguard-tools cpio:cpio modprobe:kmod
  if [[ ! -e $IMAGE/initramfs ]]; then (cleanup_on_exit; build_image); fi
  if [[ -z $image_only ]]; then "$here/run.sh" --peer kernel --jobs 2 "$@"; fi
}

build_image() {
  [[ $(uname -m) == x86_64 ]] || die "the image is only made for x86_64 so far"
  command -v apt-get >/dev/null || die "the image is made of Debian packages: this needs apt-get"
  local packages=$SCRATCH/packages system=$SCRATCH/system release root=$SCRATCH/initramfs
  note "fetching a kernel and busybox"
  unpack "$packages" "$system" busybox-static \
    "$(apt-cache depends $KERNEL_PACKAGE | awk '/Depends: linux-image/ { print $2; exit }')"
  release=$(basename "$system"/lib/modules/*)
  depmod -b "$system" "$release"

  mkdir -p "$root"/{bin,modules}
  cp "$system/bin/busybox" "$root/bin/"
  copy_program "$(command -v wg)" "$root"
  copy_modules "$system" "$release" "$root/modules" virtio_pci virtio_net wireguard
  install -m 0755 "$here/guest_init.sh" "$root/init"
  mkdir -p "$IMAGE"
  cp "$system/boot/vmlinuz-$release" "$IMAGE/vmlinuz"
  (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$IMAGE/initramfs.part"
  mv "$IMAGE/initramfs.part" "$IMAGE/initramfs"          # only ever there when it is whole
  pass "kernel $release: $IMAGE"
}

# unpack DOWNLOADS FOLDER PACKAGE...: the newest packages of this distribution, unpacked into FOLDER.
unpack() {
  local downloads=$1 folder=$2 file; shift 2
  chmod 0755 "$SCRATCH"                                  # apt fetches as a user of its own
  mkdir -m 0777 "$downloads" "$folder"
  (cd "$downloads" && apt-get -qq update && apt-get -qq download "$@") || die "apt-get could not fetch $*"
  for file in "$downloads"/*.deb; do dpkg-deb -x "$file" "$folder"; done
}

# copy_program PROGRAM ROOT: with the libraries that it is linked to, at the same paths.
copy_program() {
  local library
  cp "$1" "$2/bin/"
  ldd "$1" | grep -oE '/[^ ]+' | while read -r library; do install -D "$library" "$2$library"; done
}

# copy_modules SYSTEM RELEASE FOLDER MODULE...: with those that they depend on, numbered in the order of loading.
copy_modules() {
  local system=$1 release=$2 folder=$3 module file number=100; shift 3
  for module; do
    modprobe -d "$system" -S "$release" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++' | while read -r file; do
    number=$((number + 1))
    case $file in
      *.xz) xz -dc "$file" >"$folder/$number-$(basename "$file" .xz)" ;;
      *) cp "$file" "$folder/$number-$(basename "$file")" ;;
    esac
  done
}

main "$@"
