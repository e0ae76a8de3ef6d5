# The kernel's own NFS 4.1 server and client. One export is mounted twice, by mounts that share no cache, as those of two
# nodes: $NODE_A and $NODE_B. The server's side of it is $EXPORT.
module oid_registry dns_resolver netfs fscache nfs_ssc grace sunrpc lockd nfs_acl auth_rpcgss nfsd nfs nfsv3 nfsv4 &&
mount -t tmpfs lib /var/lib && mkdir -p /var/lib/nfs/{rpc_pipefs,v4recovery} && touch /var/lib/nfs/{etab,rmtab,state} &&
mount -t rpc_pipefs pipes /var/lib/nfs/rpc_pipefs && mount -t nfsd nfsd /proc/fs/nfsd &&
mkdir -p /run/{export,a,b} && mount -t tmpfs export /run/export && mkdir -m 777 /run/export/volume &&
{ exportfs -o rw,no_root_squash,fsid=0,insecure,no_subtree_check '127.0.0.1:/run/export' 2>&1 | grep -v /etc/exports; true; } &&
rpc.nfsd -N 3 -V 4.1 -V 4.2 --lease-time 10 --grace-time 10 2 && rpc.mountd -N 3 --manage-gids 2>/dev/null &&
echo Y >/proc/fs/nfsd/v4_end_grace &&
mount.nfs4 127.0.0.1:/volume /run/a -o vers=4.1,nosharecache,hard &&
mount.nfs4 127.0.0.1:/volume /run/b -o vers=4.1,nosharecache,hard &&
export NODE_A=/run/a NODE_B=/run/b EXPORT=/run/export/volume
