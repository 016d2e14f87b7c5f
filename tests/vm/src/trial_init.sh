#!/bin/busybox sh
# PID 1 of the guest in which haft-agent's kernel tests run: modules, the machine's bpf file system, then each test
# program in turn with the words of /lab/words, then power off. What it says leaves through the second serial line.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox --install -s /bin
# What this kernel has must be tried, so that a test that is not run is a failure here.
export PATH=/lab/bin:/bin HAFT_LINK_KINDS=required RUST_TEST_THREADS=1 RUST_BACKTRACE=0
for word in $(cat /proc/cmdline); do
    case $word in
    lab.suspend=*) export HAFT_SUSPEND="${word#*=}" ;;
    esac
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t bpf bpf /sys/fs/bpf
exec >/dev/ttyS1 2>&1 </dev/null
while read -r module; do
    insmod "/lib/modules/$module" || echo "lab: cannot load $module"
done </lib/modules/order
ip link set lo up
echo "lab: kernel $(uname -r)"
for program in $(cat /lab/programs); do
    echo "lab: begin $program"
    # shellcheck disable=SC2046 # one word per argument
    "/lab/bin/$program" $(cat /lab/words)
    echo "lab: end $program $?"
done
echo "lab: done"
poweroff -f
