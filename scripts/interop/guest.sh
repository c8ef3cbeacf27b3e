# shellcheck shell=bash
# The other side in a virtual machine with a Linux kernel of its own, for PEER=kernel: what scripts/interop/lab.sh does to
# the node `theirs` in a namespace is done here inside the machine, by a shell that listens at the far end of our cable.

GUEST_IMAGE=$PEERS/kernel

# The cable ends in the machine's network card. Software emulation: it runs everywhere, also inside other machines.
cable_up() {
  ((EUID == 0)) || die "network namespaces need root"
  add_node ours
  in_ns ours ip tuntap add dev eth0 mode tap
  in_ns ours ip link set eth0 up
  give_outside ours eth0
}

# start_guest: boots it (about 4 s); the interface exists when this returns.
start_guest() {
  spawn ours theirs qemu-system-x86_64 -accel tcg -machine q35 -cpu max -m 256 -nodefaults -no-reboot -display none \
    -serial stdio -kernel "$GUEST_IMAGE/vmlinuz" -initrd "$GUEST_IMAGE/initramfs" \
    -append "console=ttyS0 quiet panic=-1 lab4=$(outside theirs)/24 lab6=$(outside6 theirs)/64" \
    -netdev tap,id=cable,ifname=eth0,script=no,downscript=no -device virtio-net-pci,netdev=cable,romfile=
  wait_until 60 in_ns theirs true || die "the virtual machine is not there 60 s after its start"
  in_ns theirs ip link add "$(interface_of theirs)" type wireguard
}

# in_ns NODE COMMAND...: in the machine, if NODE is theirs. Output and errors come out here together.
in_ns() {
  local node=$1; shift
  if [[ $node != theirs ]]; then ip netns exec "$(ns "$node")" "$@"; return; fi
  in_guest "$(printf '%q ' "$@")"
}

# in_guest SHELL_COMMANDS: their output, and the status of the last.
in_guest() {
  local answer status
  # shellcheck disable=SC2016                            # expanded by the shell that is started, or by the one inside
  answer=$(timeout 60 ip netns exec "$(ns ours)" bash -c 'exec 3<>"/dev/tcp/$1/23" && printf "%s\n" "$2" "$3" >&3 && cat <&3' \
    _ "$(outside theirs)" "$1" 'status=$?; echo; echo status $status; exit' 2>&1) || return
  status=$(sed -n '$s/^status //p' <<<"$answer")
  sed '$d' <<<"$answer" | sed '${/^$/d}'
  return "${status:-1}"
}

# wg_at SIDE ARGUMENTS...: wg(8) there. Files that are named go along.
wg_at() {
  local side=$1 file; shift
  if [[ $side != theirs ]]; then wg "$@"; return; fi
  for file; do
    [[ -f $file ]] || continue
    in_guest "mkdir -p ${file%/*}; printf '%s' '$(<"$file")' >$file"
  done
  in_ns theirs wg "$@"
}

give_address() {
  local node=$1 iface=$2 address; shift 2
  for address; do
    if [[ $node != theirs && $address == *:* ]]; then in_ns "$node" ip address add "$address" dev "$iface" nodad
    else in_ns "$node" ip address add "$address" dev "$iface"; fi
  done
}
