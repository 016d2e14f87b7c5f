#!/bin/busybox sh
# PID 1 of a guest of the virtual-machine suite: modules, name, addresses, its own disk, then haft's daemons, started
# again one second after they end, as a unit file with Restart=always and RestartSec=1 does.
#
# Read from the kernel's command line: lab.name=n1 lab.index=1, and lab.plain=1 for a guest without disk and haft.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox --install -s /bin
export PATH=/lab/bin:/bin
mount -t tmpfs tmpfs /run
while read -r module; do
    insmod "/lib/modules/$module" || echo "module $module did not load"
done </lib/modules/order
for word in $(cat /proc/cmdline); do
    case $word in
    lab.name=*) name=${word#*=} ;;
    lab.index=*) index=${word#*=} ;;
    lab.plain=1) plain=1 ;;
    esac
done
hostname "$name"
echo "127.0.0.1 localhost $name" >/etc/hosts
ip link set lo up
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip addr add "10.77.9.$index/24" brd + dev eth0
ip link set eth0 up
ip addr add "10.78.9.$index/24" brd + dev eth1
ip link set eth1 up
# The suite's way in, on the management network: a shell that reads its commands from the connection.
cat >/run/way-in <<'END'
#!/bin/sh
exec 2>&1
sh -s
echo "exit:$?"
END
chmod 755 /run/way-in
nc -ll -p 2323 -e /run/way-in &

# A story may put another configuration on the guest's own disk.
agent() {
    config=/data/haft.yaml
    [ -e "$config" ] || config=/etc/haft/haft.yaml
    haft-agent --config "$config" --node "$name"
}

keep() {
    label=$1
    shift
    while :; do
        while [ -e "/run/hold-$label" ]; do sleep 1; done
        "$@"
        echo "lab: $label ended"
        sleep 1
    done
}

if [ -z "${plain:-}" ]; then
    mount -t ext4 /dev/vda /data || echo "lab: no disk"
    # Logs leave through a port of the hypervisor: they survive whatever becomes of this guest.
    for port in /dev/vport*p1; do
        exec >"$port" 2>&1
    done
    echo "lab: $name booted, $(cut -d' ' -f1 /proc/uptime) s after its kernel"
    cd /data || exit 1
    keep haftd haftd --config /etc/haft/haft.yaml --node "$name" &
    keep haft-agent agent &
    for stand_in in web:10.77.9.100 db:10.77.9.101 wd:10.77.9.102; do
        region=${stand_in%%:*}
        keep "stamp-$region" haft-vm stamp --disk /dev/vdb --region "$region" --address "${stand_in#*:}" --node "$name" &
    done
fi
echo "LAB UP $name" >/dev/ttyS0
# Reaps what its services leave behind.
while :; do
    sleep 3600 &
    wait
done
