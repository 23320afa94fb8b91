#!/bin/bash
# The first process of the machine that `nfs.rs` starts. The kernel's command line gives RESULT, a directory of the host
# with the file `command`; what that prints goes to `output` there, its exit status to `status`.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/run/home TMPDIR=/run/tmp

mount -t proc none /proc
mount -t sysfs none /sys
for place in /run /mnt /var/lib/nfs; do mount -t tmpfs none $place; done
mkdir -p /run/{home,tmp,result,rpcbind,netns,modules/lib/modules} /mnt/{disk,a,b,c} /var/lib/nfs/{sm,rpc_pipefs,v4recovery}
touch /var/lib/nfs/{etab,rmtab,state}
mount -t hostfs -o "$RESULT" none /run/result
exec >/run/result/output 2>&1

# The kernel's modules lie where modprobe doesn't look.
ln -s "/usr/lib/uml/modules/$(uname -r)" /run/modules/lib/modules/
for module in sunrpc lockd nfsd nfs nfsv3 nfsv4 veth loop vfat nls_cp437 nls_iso8859-1 nls_ascii; do
    modprobe --dirname /run/modules $module || echo "nfs: no kernel module $module"
done

# The server, on a disk that keeps nanoseconds.
mount /dev/ubda /mnt/disk
mount -t nfsd none /proc/fs/nfsd
ip link set lo up
rpcbind
exportfs -o rw,sync,fsid=0,insecure,no_root_squash,no_subtree_check '*:/mnt/disk'
# There is no IPv6, which both would tell of at length.
rpc.mountd 2>/run/mountd
rpc.nfsd 4 2>/run/nfsd

# The clients: of different protocols, and one of the same from another network, so that none shares a cache.
ip netns add other
ip link add outer type veth peer name inner netns other
ip addr add 10.77.0.1/24 dev outer
ip link set outer up
ip -n other addr add 10.77.0.2/24 dev inner
ip -n other link set inner up
client() { # PLACE WORD... : mounts by the words, once the server answers
    local place=$1 attempt
    shift
    for attempt in $(seq 40); do
        "$@" "$place" 2>/run/why && return
        sleep 0.25
    done
    echo "nfs: $place: not mounted"
    cat /run/why /run/mountd /run/nfsd
}
client /mnt/a mount -t nfs4 -o vers=4.2 127.0.0.1:/
client /mnt/b mount -t nfs -o vers=3,nolock 127.0.0.1:/mnt/disk
client /mnt/c nsenter --net=/run/netns/other mount -t nfs4 -o vers=4.2 10.77.0.1:/

bash /run/result/command
echo $? >/run/result/status
exec >/dev/null 2>&1
umount --force /mnt/a /mnt/b /mnt/c
halt --force
