# shellcheck shell=bash
# The laboratory's node `client` as a machine with an /etc and a /run of its own, which survive its processes: for tests of
# what is changed there. Sourced after assert.sh, used after lab_up.

# own_files: from here on `machine COMMAND...` and vpn-client see $ETC and $RUN as /etc and /run. A file $SCRATCH/mounted is
# seen as a mounted /etc/resolv.conf, with a file $SCRATCH/read_only /etc is read-only, and programs in $SCRATCH/programs come first in PATH.
own_files() {
  local programs=$VPN_BIN_DIR
  ETC=$SCRATCH/machine/etc RUN=$SCRATCH/machine/run
  mkdir -p "$ETC" "$RUN" "$SCRATCH"/{bin,programs}
  cp -L /etc/{passwd,group,protocols,services} "$ETC" 2>/dev/null || true
  echo 'hosts: files dns' >"$ETC/nsswitch.conf"
  echo '127.0.0.1 localhost' >"$ETC/hosts"
  cat >"$SCRATCH/bin/on_machine" <<SH
#!/bin/sh
PATH=$SCRATCH/programs:\$PATH; export PATH
exec unshare --mount sh -c '
  mount --bind "$ETC" /etc && mount --bind "$RUN" /run || exit
  if [ -e "$SCRATCH/mounted" ]; then mount --bind "$SCRATCH/mounted" /etc/resolv.conf || exit; fi
  if [ -e "$SCRATCH/read_only" ]; then mount -o remount,bind,ro /etc || exit; fi
  exec "\$0" "\$@"' "\$@"
SH
  printf '#!/bin/sh\nexec %q %q "$@"\n' "$SCRATCH/bin/on_machine" "$programs/vpn-client" >"$SCRATCH/bin/vpn-client"
  ln -s "$programs/vpn-server" "$SCRATCH/bin/vpn-server"
  chmod +x "$SCRATCH"/bin/{on_machine,vpn-client}
  VPN_BIN_DIR=$SCRATCH/bin
}
machine() { in_ns client "$SCRATCH/bin/on_machine" "$@"; }

# etc_state: names, links, modes, owners, times and contents of all that is in /etc.
etc_state() { (cd "$ETC" && find . -mindepth 1 -printf '%p %l %m %u %g %T@ %s\n' | sort && sha256sum -- *); }
