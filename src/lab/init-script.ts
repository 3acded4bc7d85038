/**
 * The two scripts of L1, for busybox sh: `/init` of the initramfs brings the machine up and makes the host's file system its
 * root; the agent then serves the control port. Applets are busybox's own all the way (its shell prefers them), so that
 * nothing here depends on the host's tools. Parks before anything of the host is mounted: see template.ts.
 */
import {
  EXCHANGE_IN_LAB,
  JOBS_FOLDER,
  LAB_FOLDER,
  MOUNT_TAG,
  PORT,
  SAYS,
  STREAM_JOB,
  TOLD,
} from './layout.js';

/** Options of the 9p mounts. `loose` trusts that nobody else changes the files: right for a root that is read-only to L1. */
const P9_OPTIONS = 'trans=virtio,version=9p2000.L,msize=1048576';
const ROOT_9P = `${P9_OPTIONS},cache=loose,ro`;
const EXCHANGE_9P = `${P9_OPTIONS},cache=none`;

/** How long a job's streams are still read after its end, when a process it left behind holds them open. */
const STREAM_GRACE_SECONDS = 1;

/** What the init script depends on. */
export interface InitScriptOptions {
  /** Module files in the order of insmod, relative to the initramfs' root. */
  readonly modules: readonly string[];
  /** Where the kernel's modules are on the host, for modprobe in L1. */
  readonly modulesDir: string;
}

/** `/init` of L1's initramfs. */
export function initScript(options: InitScriptOptions): string {
  return `#!/bin/busybox sh
# Brings up the lab's machine. Applets need /proc; before and after it, busybox is called by its path.
say() { echo "tvmm-lab: $*" >/dev/console; }
die() { say "$*"; /bin/busybox poweroff -f; }
must() { "$@" || die "$* failed with status $?"; }

/bin/busybox mkdir -p /proc /sys /dev /host /layer /root
must /bin/busybox mount -t proc proc /proc
must mount -t sysfs sysfs /sys
must mount -t devtmpfs devtmpfs /dev
must mkdir -p /dev/pts /dev/shm
for module in ${options.modules.join(' ')}; do
  insmod /$module || die "the kernel module $module cannot be loaded"
done
must mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
must mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
must mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
ln -sf pts/ptmx /dev/ptmx
[ -c /dev/kvm ] || die "the emulated processor gives no /dev/kvm"
must /kvm-hold
must ip link set lo up
must hostname tvmm-lab
must mount -t tmpfs -o size=80%,mode=755 tmpfs /layer
must mkdir /layer/upper /layer/work

# Ports appear when the host has answered the driver.
until [ -c /dev/vport*p${PORT.control} ] && [ -c /dev/vport*p${PORT.stderr} ]; do usleep 2000; done 2>/dev/null
control=$(echo /dev/vport*p${PORT.control})
exec 3<>$control
echo ${SAYS.parked} >&3
read -r word epoch <&3
[ "$word" = ${TOLD.go} ] || die "expected ${TOLD.go}, was told $word"
date -u -s @$epoch >/dev/null

must mount -t 9p -o ${ROOT_9P} ${MOUNT_TAG.root} /host
must mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work,xino=off overlay /root
must mount -t tmpfs -o mode=755 tmpfs /root/run
must mkdir -p /root${EXCHANGE_IN_LAB} /root/run/lock /root/tmp
must mount -t 9p -o ${EXCHANGE_9P} ${MOUNT_TAG.exchange} /root${EXCHANGE_IN_LAB}
must cp /bin/busybox /agent /root${LAB_FOLDER}/
version=$(uname -r)
modules=/root/lib/modules/$version
if [ ! -d $modules/kernel ]; then
  unpacked=${quoteForAssignment(options.modulesDir)}
  rm -rf $modules
  must mkdir -p $modules
  for file in kernel modules.dep modules.builtin modules.alias; do
    [ -e /root$unpacked/$file ] && ln -s $unpacked/$file $modules/$file
  done
  [ -e /root$unpacked/modules.alias ] || must cp /modules.alias $modules/
fi
# A host without kmod: the kernel, too, asks for modules by this path.
for tool in modprobe insmod rmmod lsmod; do
  [ -e /root/sbin/$tool ] || ln -s ${LAB_FOLDER}/busybox /root/sbin/$tool
done
for point in dev sys proc; do /bin/busybox mount -o move /$point /root/$point || die "/$point cannot be moved"; done
exec /bin/busybox switch_root /root ${LAB_FOLDER}/busybox sh ${LAB_FOLDER}/agent
`;
}

/** The agent: process 1 of L1 after the change of root. Serves jobs until the machine is killed. */
export function agentScript(): string {
  return `# Serves the lab's control port (fd 3). Process 1 only reaps; its child answers.
cd /
busybox=${LAB_FOLDER}/busybox
jobs=${EXCHANGE_IN_LAB}/${JOBS_FOLDER}
state=${LAB_FOLDER}/jobs
mkdir -p $state

say() { echo "$*" >&3; }

# finish_streams PIDS: wait for the readers of a job's streams. A process that the job left behind may hold a stream open: a reader
# that then only waits for more is ended. One that cannot write, since the host is slow to take it, is waited for.
finish_streams() {
  (
    sleep ${STREAM_GRACE_SECONDS}
    for reader in "$@"; do
      while [ -d /proc/$reader ] && [ "$(cat /proc/$reader/wchan)" != pipe_read ]; do sleep 0.2; done
      kill $reader
    done
  ) 2>/dev/null &
  wait "$@"
  kill $! 2>/dev/null
}

# job NUMBER: its script, stdin, stdout and stderr are files of the exchange share. Pipes stand between, so that opening
# /dev/stderr truncates nothing and no two writers share an offset.
job() {
  mkdir $state/$1
  mkfifo $state/$1/out $state/$1/err
  cat $state/$1/out >$jobs/$1/stdout 3>&- &
  out=$!
  cat $state/$1/err >$jobs/$1/stderr 3>&- &
  err=$!
  $busybox setsid $busybox sh $jobs/$1/script <$jobs/$1/stdin >$state/$1/out 2>$state/$1/err 3>&- &
  command=$!
  echo $command >$state/$1/pid
  wait $command
  status=$?
  finish_streams $out $err
  rm -rf $state/$1
  say ${SAYS.done} $1 $status
}

# stream pipe|tty MARK ROWS COLUMNS: the one command of this L1, its streams on three ports; the mark ends each of the two
# outputs. A terminal is a pty that script(1) of the host's util-linux relays: hvc consoles pass some 4 KB/s under emulation.
stream() {
  own=$state/${STREAM_JOB}
  mkdir $own
  mkfifo $own/in $own/out $own/err
  exec 4<$(echo /dev/vport*p${PORT.stdin}) 5>$(echo /dev/vport*p${PORT.stdout}) 6>$(echo /dev/vport*p${PORT.stderr})
  set -- $1 $2 $3 $4 "$busybox sh $jobs/${STREAM_JOB}/script"
  if [ $1 = tty ]; then
    echo "tty >$own/tty; stty rows $3 cols $4; exec $5" >$own/on-tty
    set -- $1 $2 $3 $4 "script -q -e -E always -c '$busybox sh $own/on-tty' /dev/null"
  fi
  cat <&4 >$own/in 3>&- 5>&- 6>&- &
  in=$!
  cat $own/out >&5 3>&- 4>&- 6>&- &
  out=$!
  cat $own/err >&6 3>&- 4>&- 5>&- &
  err=$!
  eval "$busybox setsid $5" <$own/in >$own/out 2>$own/err 3>&- 4>&- 5>&- 6>&- &
  wait $!
  status=$?
  kill $in 2>/dev/null
  finish_streams $out $err
  printf %s $2 >&5
  printf %s $2 >&6
  say ${SAYS.done} ${STREAM_JOB} $status
}

# Jobs are orphaned at once: this shell, blocked in read, would not reap them.
serve() {
  say ${SAYS.up}
  while read -r word one two three four <&3; do
    case $word in
      ${TOLD.run}) ( job $one & ) ;;
      ${TOLD.kill}) kill -KILL -$(cat $state/$one/pid) 2>/dev/null ;;
      ${TOLD.stream}) ( stream $one $two $three $four & ) ;;
      ${TOLD.size}) stty -F $(cat $state/${STREAM_JOB}/tty) rows $one cols $two 2>/dev/null ;;
    esac
  done
}

serve &
exec 3>&-
wait
poweroff -f
`;
}

function quoteForAssignment(path: string): string {
  return `'${path.replaceAll("'", `'\\''`)}'`;
}
