/**
 * The scripts that run inside the default guest, for busybox ash: `/init` of the initramfs, the session that `--run` starts,
 * and `/sbin/init` of the default root image. They are constants so that a bundled tvmm needs no files of its own.
 *
 * Kernel command line: `root=` (default /dev/vda; UUID= and LABEL= too), `rootfstype=`, `rootflags=`, `ro` (default), `rw`,
 * `init=`, `tvmm.overlay` (a tmpfs overlay over a read-only root).
 *
 * `--run`: the VMM appends an archive that holds `/tvmm/run`, the text of a shell command, and offers virtio-console ports
 * named tvmm.stdin, tvmm.stdout, tvmm.stderr and tvmm.control. The last carries one line out of the guest: `exit STATUS`, or
 * `error SENTENCE` where the command could not be run. The machine powers off afterwards.
 */

/** Names of the virtio-console ports that `--run` uses. */
export const RUN_PORTS = {
  stdin: 'tvmm.stdin',
  stdout: 'tvmm.stdout',
  stderr: 'tvmm.stderr',
  control: 'tvmm.control',
} as const;

/** Where the command of `--run` stands in the initramfs. */
export const RUN_FILE = 'tvmm/run';
/** Where the session script stands in the initramfs. */
export const SESSION_FILE = 'tvmm/session';

/** Mounts what programs expect below $1; tmpfs over /tmp unless the root can be written to ($2). */
const MOUNTS = `mounts() {
  [ -e "$1/proc/self" ] || mount -t proc -o nosuid,nodev,noexec proc "$1/proc"
  [ -d "$1/sys/kernel" ] || mount -t sysfs -o nosuid,nodev,noexec sysfs "$1/sys"
  [ -c "$1/dev/null" ] || mount -t devtmpfs -o nosuid,mode=0755 dev "$1/dev"
  mkdir -p "$1/dev/pts" "$1/dev/shm"
  mount -t devpts -o nosuid,noexec,gid=5,mode=0620,ptmxmode=0666 devpts "$1/dev/pts"
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$1/dev/shm"
  [ -e "$1/dev/fd" ] || ln -s /proc/self/fd "$1/dev/fd"
  for n in 0:stdin 1:stdout 2:stderr; do
    [ -e "$1/dev/\${n#*:}" ] || ln -s "/proc/self/fd/\${n%:*}" "$1/dev/\${n#*:}"
  done
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$1/sys/fs/cgroup" 2>/dev/null
  [ -d "$1/run" ] && mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs "$1/run"
  [ "$2" = rw ] || [ ! -d "$1/tmp" ] || mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$1/tmp"
}
`;

/** The terminal behind /dev/console: the last of the list, as Documentation/ABI says of `active`. */
const CONSOLE = `console() {
  read -r active </sys/class/tty/console/active
  echo "/dev/\${active##* }"
}
`;

/**
 * \`settle N\` waits until nothing runs but this process, at most N hundredths of a second. Kernel threads and the dead have no
 * exe. A file system can only be left clean when nobody holds its files open any more.
 */
const SETTLE = `settle() {
  tries=0
  until alone; do
    [ $tries -lt "$1" ] || return 1
    tries=$((tries + 1))
    usleep 10000
  done
}
alone() {
  for file in /proc/[0-9]*/exe; do
    [ "$file" = /proc/1/exe ] || [ ! -e "$file" ] || return 1
  done
}
`;

/** \`/init\` of the initramfs. */
export const INIT_SCRIPT = `#!/bin/busybox sh
# The first program of a tvmm guest. busybox's shell finds its applets without PATH, but only once /proc is there.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
/bin/busybox mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid,mode=0755 dev /dev

root= mode=ro fstype= flags= init= overlay= hvc= started=
read -r cmdline </proc/cmdline
set -f
for word in $cmdline; do
  case $word in
    root=*) root=\${word#root=} ;;
    rootfstype=*) fstype=\${word#*=} ;;
    rootflags=*) flags=,\${word#*=} ;;
    init=*) init=\${word#*=} ;;
    ro | rw) mode=$word ;;
    tvmm.overlay) overlay=1 ;;
    console=hvc*) hvc=1 ;;
  esac
done
set +f

# Drivers, only for the devices that are there: each one costs time. Lists and modules are made for one kernel; any other has
# its drivers built in, or is given an initrd of its own.
read -r release </proc/sys/kernel/osrelease
modules=/lib/modules/$release
load() {
  [ -f "$modules/$1.list" ] || return 0
  while read -r module; do
    [ -d "/sys/module/$module" ] || insmod "$modules/$module.ko"
  done <"$modules/$1.list"
}
for file in /sys/bus/pci/devices/*/vendor; do
  read -r id 2>/dev/null <"$file" && [ "$id" = 0x1af4 ] && load virtio_pci && break
done
for file in /sys/bus/acpi/devices/LNRO0005:*; do
  [ -e "$file" ] && load virtio_mmio
  break
done
disk=
for file in /sys/bus/virtio/devices/*/modalias; do
  # virtio:d<device type, Virtual I/O Device specification section 5>v<vendor>
  read -r id 2>/dev/null <"$file" || continue
  case $id in
    virtio:d00000001v*) load virtio_net ;;
    virtio:d00000002v*) disk=1; load virtio_blk ;;
    virtio:d00000003v*) load virtio_console ;;
    virtio:d00000004v*) load virtio_rng ;;
    virtio:d00000005v*) load virtio_balloon ;;
    virtio:d00000013v*) load vmw_vsock_virtio_transport ;;
    virtio:d0000001Av*) load virtiofs ;;
  esac
done
# The kernel could not open a console whose driver was a module; with several ports it comes up only when the device says so.
if [ "$hvc" ]; then
  tries=0
  until { read -r active </sys/class/tty/console/active && [ "$active" ]; }; do
    [ $tries -lt 100 ] || break
    tries=$((tries + 1))
    usleep 20000
  done
  [ -z "$active" ] || exec 0<>/dev/console 1>&0 2>&0
fi

${CONSOLE}
# The file /dev/vport… of the port named $1, in $device; ports come up while we work, so look before sleeping.
port() {
  tries=0
  while :; do
    for file in /sys/class/virtio-ports/*/name; do
      read -r name 2>/dev/null <"$file" || continue
      [ "$name" = "$1" ] || continue
      device=\${file%/name}
      device=/dev/\${device##*/}
      [ -c "$device" ] && return 0
    done
    [ $tries -lt 500 ] || return 1
    tries=$((tries + 1))
    usleep 20000
  done
}

${SETTLE}
down() {
  if [ "$started" ]; then
    kill -KILL -1 2>/dev/null
    settle 200
    # Not umount: the session had a mount of its own, and it is the file system that must become clean.
    [ "$overlay" ] || [ $mode = ro ] || mount -o remount,ro /newroot
  fi
  sync
  poweroff -f
  # Without a way to power off the kernel comes back here; an init that ended would make it panic.
  while :; do sleep 3600; done
}

# $1: what cannot be done. Whoever waits for a command is told so; anyone else gets a shell to look around.
stuck() {
  if [ -f /${RUN_FILE} ]; then
    echo "tvmm guest: $1"
    port ${RUN_PORTS.control} && echo "error $1" >"$device"
    down
  fi
  echo "tvmm guest: $1; this is the initramfs's shell, \\"exit\\" powers off"
  cd /
  PS1='[guest initramfs] \\w # ' setsid -c sh <>"$(console)" >&0 2>&1
  down
}

case $root in
  '')
    # Nobody asked for a root: use the first disk if there is one.
    root=/dev/vda
    [ -b /dev/vda ] || [ "$disk" ] || stuck 'there is no disk to use as root'
    ;;
  UUID=* | LABEL=*) root=$(findfs "$root") || stuck "no disk has $root" ;;
esac
case $fstype in
  virtiofs | 9p) ;;
  *)
    tries=0
    until [ -b "$root" ]; do
      [ $tries -lt 200 ] || stuck "the root device $root did not appear"
      tries=$((tries + 1))
      sleep 0.05
    done
    ;;
esac

# $1: options, $2: where.
mount_root() {
  if [ "$fstype" ]; then
    mount -t "$fstype" -o "$1$flags" "$root" "$2"
  else
    mount -t ext4 -o "$1$flags" "$root" "$2" 2>/dev/null || mount -o "$1$flags" "$root" "$2"
  fi || stuck "the root $root cannot be mounted ($1$flags)"
}
writable=$mode
if [ "$overlay" ]; then
  writable=rw
  load overlay
  mount_root ro /lower
  mount -t tmpfs -o mode=0755 tmpfs /upper
  mkdir /upper/data /upper/work
  mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /newroot ||
    stuck 'the overlay over the root cannot be mounted'
else
  mount_root "$mode" /newroot
fi

if [ -f /${RUN_FILE} ]; then
  port ${RUN_PORTS.stdin} && stdin=$device &&
    port ${RUN_PORTS.stdout} && stdout=$device &&
    port ${RUN_PORTS.stderr} && stderr=$device ||
    stuck 'the ports for the input and output of the command did not appear'
  started=1
  setsid unshare -m /bin/busybox sh /${SESSION_FILE} "$writable" -c "$(cat /${RUN_FILE})" <"$stdin" >"$stdout" 2>"$stderr" &
  wait $!
  status=$?
  port ${RUN_PORTS.control} && echo "exit $status" >"$device"
  down
fi

for program in $init /sbin/init /etc/init /bin/init; do
  # A link is good enough: it may be absolute, which means something else from here.
  if [ -x "/newroot$program" ] || [ -L "/newroot$program" ]; then
    for file in dev sys proc; do
      mount -o move "/$file" "/newroot/$file" 2>/dev/null || umount -l "/$file"
    done
    # By its file: /proc, through which the shell finds its applets, has moved (last, for the same reason).
    exec /bin/busybox switch_root /newroot "$program"
  fi
done
echo 'tvmm guest: the root has no init, so this is its shell; "exit" powers off'
started=1
setsid -c unshare -m /bin/busybox sh /${SESSION_FILE} "$writable" <>"$(console)" >&0 2>&1
down
`;

/**
 * Runs `/bin/sh` with the arguments after the first in the root, in a mount namespace of its own: the supervisor keeps its
 * view, so that it can unmount the root when this one is gone. The root is moved over `/` instead of merely being chrooted
 * to, because the kernel refuses user namespaces to chrooted programs.
 */
export const SESSION_SCRIPT = `${MOUNTS}
mounts /newroot "$1"
shift
ip link set lo up 2>/dev/null
[ -r /newroot/etc/hostname ] && hostname -F /newroot/etc/hostname
cd /newroot && mount -o move . / && exec chroot . /bin/sh "$@"
`;

/** \`/sbin/init\` of the default root image: one shell on the console, then off. */
export const ROOT_INIT_SCRIPT = `#!/bin/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
${MOUNTS}
${CONSOLE}
read -r cmdline </proc/cmdline
mode=ro
case " $cmdline " in *' rw '* | *' tvmm.overlay '*) mode=rw ;; esac
mounts '' $mode
hostname -F /etc/hostname
ip link set lo up

# What poweroff, reboot and halt of busybox send to process 1.
${SETTLE}down() {
  trap '' TERM USR1 USR2
  kill -TERM -1 2>/dev/null
  # Interactive shells ignore the first.
  kill -HUP -1 2>/dev/null
  settle 100 || { kill -KILL -1 2>/dev/null; settle 100; }
  [ $mode = ro ] || mount -o remount,ro / 2>/dev/null
  sync
  "$1" -f
  while :; do sleep 3600; done
}
trap 'down poweroff' USR2
trap 'down reboot' TERM
trap 'down halt' USR1

read -r release </proc/sys/kernel/osrelease
tty=$(console)
{
  echo
  echo "This is a tvmm guest: Linux $release, $(nproc) CPU(s), console \${tty#/dev/}."
  echo 'Leave with "exit": the guest powers off.'
} >"$tty"
cd /root
setsid -c sh -l <>"$tty" >&0 2>&1 &
wait $!
down poweroff
`;
