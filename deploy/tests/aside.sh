#!/usr/bin/env bash
# What `walk.py aside` runs in namespaces of its own: this machine under a layer in memory, as if it were bare.
#   aside.sh LAYER GIVEN PACKAGES
# LAYER: an empty folder; GIVEN: walk.py, systemctl, the document, the repository; PACKAGES: site-packages.
set -euo pipefail
layer=$1 given=$2 packages=$3

mount --make-rprivate /
mount -t tmpfs -o size=4g tmpfs "$layer"
mkdir "$layer/upper" "$layer/work" "$layer/root"
mount -t overlay overlay -o "lowerdir=${BASE:-/},upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
cd "$layer/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mkdir -p run/postgresql run/walk run/lock opt/packages
chown postgres: run/postgresql
mount --bind "$given" mnt
# Through their own mount: people of the machine may not enter the folder that they lie in.
mount --bind "$packages" opt/packages
ip link set lo up

install -m 0755 mnt/systemctl usr/local/sbin/systemctl
# No network: what would be installed has to be here.
cat > usr/local/sbin/apt-get <<'APT'
#!/bin/sh
for each; do
    case $each in
        -* | install | update) ;;
        *) dpkg-query -W "$each*" >/dev/null || exit 1 ;;
    esac
done
APT
chmod 0755 usr/local/sbin/apt-get

# What this machine has of the site, or of the services, a bare machine has not.
rm -rf opt/cifarsite etc/cifarsite srv/wal var/lib/cifarsite root/.gitconfig
rm -rf etc/postgresql/15/main var/lib/postgresql/15/main
if chroot . id cifarsite >/dev/null 2>&1; then chroot . userdel cifarsite; fi

exec chroot . /usr/bin/env -i HOME=/root LANG=C.UTF-8 PIP_NO_INDEX=1 PIP_NO_DEPS=1 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    python3.11 /mnt/walk.py inside /opt/packages
