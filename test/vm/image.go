package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"airgap/test/site"
)

// Image says what a machine's disk is made from.
type Image struct {
	Name     string   // of the image, in messages
	Suite    string   // Debian's release
	Packages []string // besides those that are essential, and the kernel
	Init     string   // systemd or openrc
}

// common is what an image needs to start and to be a machine at all.
var common = []string{"linux-image-amd64", "initramfs-tools", "zstd", "udev", "kmod", "procps", "iproute2", "login", "util-linux"}

// usual is what Debian's installer puts on a server, as far as a node could care.
var usual = []string{"ifupdown", "nftables", "iptables", "curl", "ca-certificates"}

// The machines that there are.
var (
	Debian12 = Image{Name: "Debian 12", Suite: "bookworm", Init: "systemd", Packages: append([]string{"systemd-sysv", "dbus"}, usual...)}
	Debian11 = Image{Name: "Debian 11", Suite: "bullseye", Init: "systemd", Packages: append([]string{"systemd-sysv", "dbus"}, usual...)}
	Debian13 = Image{Name: "Debian 13", Suite: "trixie", Init: "systemd", Packages: append([]string{"systemd-sysv", "dbus"}, usual...)}
	// OpenRC is Debian 12 with sysvinit and OpenRC instead of systemd.
	OpenRC = Image{Name: "Debian 12 with OpenRC", Suite: "bookworm", Init: "openrc", Packages: append([]string{"sysvinit-core", "openrc"}, usual...)}
	// Minimal is a Debian 12 that has no nft, iptables, curl or certificate of any authority.
	Minimal = Image{Name: "minimal Debian 12", Suite: "bookworm", Init: "systemd", Packages: []string{"systemd-sysv"}}
)

const (
	imageBytes = 8 << 30
	// imagePatience is for downloading and unpacking 200 MB of packages on a busy machine.
	imagePatience = 20 * time.Minute
)

//go:embed guest
var guestFiles embed.FS

// cached is an image as it lies in the cache.
type cached struct {
	disk, kernel, initrd string
}

// recipe is the script that makes the image, for mmdebstrap and mke2fs: what it says is what the image is.
func (i Image) recipe() string {
	packages := strings.Join(append(append([]string{}, common...), i.Packages...), ",")
	service := map[string]string{
		"systemd": `install -D -m 0644 "$guest/room.service" "$1/etc/systemd/system/room.service"
	mkdir -p "$1/etc/systemd/system/multi-user.target.wants"
	ln -s ../room.service "$1/etc/systemd/system/multi-user.target.wants/room.service"`,
		// A login, as init gives no PATH to /usr/local.
		"openrc": `echo 'ro:2345:respawn:/usr/bin/env HOME=/root /bin/bash -l /usr/local/sbin/room' >> "$1/etc/inittab"
	echo 'S0:2345:respawn:/sbin/agetty 115200 ttyS0 linux' >> "$1/etc/inittab"`,
	}[i.Init]
	return fmt.Sprintf(`set -eu
guest=$1 out=$2
early() {
	mkdir -p "$1/etc/initramfs-tools/conf.d"
	printf 'virtio_pci\nvirtio_blk\next4\n' > "$1/etc/initramfs-tools/modules"
	printf 'MODULES=list\n' > "$1/etc/initramfs-tools/conf.d/room"
	printf '#!/bin/sh\nexit 101\n' > "$1/usr/sbin/policy-rc.d"
	chmod 0755 "$1/usr/sbin/policy-rc.d"
}
late() {
	install -D -m 0755 "$guest/room" "$1/usr/local/sbin/room"
	%s
	echo '/dev/vda / ext4 errors=remount-ro 0 1' > "$1/etc/fstab"
	echo machine > "$1/etc/hostname"
	printf '127.0.0.1 localhost\n127.0.1.1 machine\n' > "$1/etc/hosts"
	: > "$1/etc/resolv.conf"
	rm -rf "$1/usr/sbin/policy-rc.d" "$1"/var/cache/apt/*.bin "$1"/var/lib/apt/lists/*
	echo root:stick | chroot "$1" chpasswd # the image's own: PAM's modules go with a library of their age
}
case "${3-}" in early) early "$4"; exit;; late) late "$4"; exit;; esac
mmdebstrap --quiet --mode=root --variant=minbase --include=%s \
	--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--essential-hook="sh $0 $guest $out early \"\$1\"" --customize-hook="sh $0 $guest $out late \"\$1\"" \
	%s "$out/root"
cp "$out"/root/boot/vmlinuz-* "$out/vmlinuz"
cp "$out"/root/boot/initrd.img-* "$out/initrd"
mke2fs -q -t ext4 -d "$out/root" "$out/disk" %d
rm -rf "$out/root"
`, service, packages, i.Suite, imageBytes/1024) // mke2fs takes KiB
}

// key names what the image is made from.
func (i Image) key() (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(i.recipe()); err != nil {
		return "", err
	}
	err := fs.WalkDir(guestFiles, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := guestFiles.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(data), data)
		return err
	})
	return i.Suite + "-" + i.Init + "-" + hex.EncodeToString(h.Sum(nil))[:16], err
}

// build returns the image, and makes it first if the cache does not have it.
func (i Image) build(ctx context.Context) (cached, error) {
	key, err := i.key()
	if err != nil {
		return cached{}, err
	}
	cache := site.Built(".cache/vm")
	folder := filepath.Join(cache, key)
	result := cached{disk: filepath.Join(folder, "disk"), kernel: filepath.Join(folder, "vmlinuz"), initrd: filepath.Join(folder, "initrd")}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return cached{}, err
	}
	if _, err := os.Stat(folder); err == nil {
		return result, nil
	}
	lock, err := os.Create(filepath.Join(cache, "lock"))
	if err != nil {
		return cached{}, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return cached{}, err
	}
	if _, err := os.Stat(folder); err == nil { // made by another process meanwhile
		return result, nil
	}
	// A half-made one of a test that was killed.
	making := folder + ".new"
	if err := errors.Join(os.RemoveAll(making), os.MkdirAll(making, 0o755)); err != nil {
		return cached{}, err
	}
	if err := i.make(ctx, making); err != nil {
		return cached{}, errors.Join(fmt.Errorf("image of %s: %w", i.Name, err), os.RemoveAll(making))
	}
	return result, os.Rename(making, folder)
}

// make makes the image in a folder of its own.
func (i Image) make(ctx context.Context, folder string) error {
	source, err := os.MkdirTemp("", "airgap-vm-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(source)
	if err := os.CopyFS(source, guestFiles); err != nil {
		return err
	}
	script := filepath.Join(source, "recipe")
	if err := os.WriteFile(script, []byte(i.recipe()), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, imagePatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", script, filepath.Join(source, "guest"), folder)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	// Mounts of its own: what it mounts in the image is gone with it, even if it is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return nil
}
