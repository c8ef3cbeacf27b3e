#!/bin/busybox sh
# shellcheck shell=dash
# First and only process of the virtual machine: loads the modules, takes the address that the kernel's command line gives
# to eth0 (lab4=, lab6=), and then runs whatever shell commands arrive at TCP port 23. It is reachable from one namespace only.

/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in /modules/*; do insmod "$module"; done

setting() { sed -n "s|.*$1=\([^ ]*\).*|\1|p" /proc/cmdline; }
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set lo up
ip link set eth0 up
ip address add "$(setting lab4)" dev eth0
ip address add "$(setting lab6)" dev eth0
echo "guest is ready"
while :; do nc -ll -p 23 -e /bin/sh; done
