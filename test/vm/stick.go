package vm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Format is the file system of a stick.
type Format string

// The formats that sticks have.
const (
	FAT32 Format = "FAT32" // no file larger than 4 GiB
	ExFAT Format = "exFAT"
	Ext4  Format = "ext4"
)

const (
	// stickLabel is the name of every stick: /dev/disk/by-label/AIRGAP.
	stickLabel = "AIRGAP"
	// partitionBytes is where the one partition of a stick begins, as on one from a shop.
	partitionBytes = 1 << 20
)

// Stick is a USB stick with one partition.
type Stick struct {
	Format Format
	path   string // of its bytes
	device string // QEMU's name of it
	size   int64
}

// NewStick makes a stick with files of the host in its root folder, and half as much again free.
func NewStick(t testing.TB, format Format, files ...string) *Stick {
	t.Helper()
	folder := t.TempDir()
	content := filepath.Join(folder, "content")
	if err := os.Mkdir(content, 0o755); err != nil {
		t.Fatal(err)
	}
	size := int64(64 << 20)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatalf("%v (make system podinfo builds what machines are given)", err)
		}
		size += info.Size() * 3 / 2
	}
	s := &Stick{Format: format, path: filepath.Join(folder, "stick"), size: size&^(1<<20-1) + partitionBytes}
	if err := s.format(content, files); err != nil {
		t.Fatalf("stick in %s: %v", format, err)
	}
	return s
}

func (s *Stick) format(content string, files []string) error {
	if err := os.WriteFile(s.path, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(s.path, s.size); err != nil {
		return err
	}
	kind := map[Format]string{FAT32: "c", ExFAT: "7", Ext4: "83"}[s.Format]
	if err := run(strings.NewReader("label: dos\n2048,,"+kind+"\n"), "sfdisk", "-q", s.path); err != nil {
		return err
	}
	switch s.Format {
	case FAT32:
		kib := (s.size - partitionBytes) / 1024
		if err := run(nil, "mkfs.fat", "-F", "32", "-n", stickLabel, "--offset", fmt.Sprint(partitionBytes/512), s.path, fmt.Sprint(kib)); err != nil {
			return err
		}
		return run(nil, "mcopy", append(append([]string{"-i", fmt.Sprintf("%s@@%d", s.path, partitionBytes)}, files...), "::")...)
	case Ext4:
		if err := run(nil, "cp", append(append([]string{"-p"}, files...), content)...); err != nil {
			return err
		}
		return run(nil, "mke2fs", "-q", "-F", "-t", "ext4", "-L", stickLabel, "-d", content,
			"-E", fmt.Sprintf("offset=%d", partitionBytes), s.path, fmt.Sprint((s.size-partitionBytes)/1024))
	case ExFAT:
		return s.formatExFAT(content, files)
	}
	return fmt.Errorf("no %s is made here", s.Format)
}

// formatExFAT mounts the stick: no program writes exFAT into a file.
func (s *Stick) formatExFAT(mounted string, files []string) (err error) {
	out, err := exec.Command("losetup", "--find", "--show", "-o", fmt.Sprint(partitionBytes), s.path).Output()
	if err != nil {
		return fmt.Errorf("losetup: %w", err)
	}
	device := strings.TrimSpace(string(out))
	defer func() { err = errors.Join(err, run(nil, "losetup", "-d", device)) }()
	if err := run(nil, "mkfs.exfat", "-L", stickLabel, device); err != nil {
		return err
	}
	if err := run(nil, "mount.exfat-fuse", device, mounted); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, run(nil, "umount", mounted)) }()
	return run(nil, "cp", append(slices.Clone(files), mounted)...)
}

// run runs a command of the host.
func run(stdin *strings.Reader, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
