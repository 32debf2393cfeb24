package installer

import (
	"os"
	"path/filepath"

	"airgap/bundle"
	"airgap/internal/progress"
	"airgap/node/config"
)

// Estimates of what a bundle takes on the disk. A manifest tells compressed sizes only.
const (
	unpackedPerCompressed   = 3         // image layers: gzip of programs and libraries
	unpackedPerPackedBinary = 5         // the distribution: zstd at its best level
	reserveBytes            = 512 << 20 // datastore, logs, and room to breathe
	inodesPerUnpackedByte   = 1.0 / (24 << 10)
	reserveInodes           = 20_000
)

// need is what an install takes on the data folder's file system.
type need struct {
	Packed   int64 // blobs to be written as they are, bytes
	Unpacked int64 // what comes out of them, estimated, bytes
	Inodes   int64
}

// Bytes is the whole, with the reserve.
func (n need) Bytes() int64 { return n.Packed + n.Unpacked + reserveBytes }

// spaceNeeded estimates what m takes on a machine that has the blobs for which has returns true.
// All layers of a bundle are stored; only those of this platform, taken to be an even share, are unpacked.
func spaceNeeded(m *bundle.Manifest, has func(hex string) bool) need {
	var layers, distributions, others int64
	for _, e := range m.Entries {
		switch {
		case has(e.SHA256):
		case e.Role == bundle.RoleLayer:
			layers += e.Size
		default:
			others += e.Size
		}
	}
	for _, d := range m.Distributions {
		if samePlatform(d.Platform, thisPlatform()) {
			distributions += d.Size
		}
	}
	platforms := max(1, int64(len(m.Platforms)))
	n := need{
		Packed:   layers + others + distributions, // this machine's is staged, then kept beside what it unpacks to
		Unpacked: unpackedPerCompressed*layers/platforms + unpackedPerPackedBinary*distributions,
	}
	n.Inodes = int64(float64(n.Unpacked)*inodesPerUnpackedByte) + int64(len(m.Entries)) + reserveInodes
	return n
}

func (c *checker) space(m *bundle.Manifest) {
	n, disk := spaceNeeded(m, c.facts.HasBlob), c.facts.Disk
	if disk.FreeBytes < n.Bytes() {
		c.problem("disk", "free "+progress.Bytes(n.Bytes()-disk.FreeBytes)+" more there, or choose another --data-dir",
			"%s has %s free, the install needs about %s (%s from the bundle, %s unpacked, %s reserve)", c.facts.DataParent,
			progress.Bytes(disk.FreeBytes), progress.Bytes(n.Bytes()), progress.Bytes(n.Packed), progress.Bytes(n.Unpacked), progress.Bytes(reserveBytes))
	} else if left := disk.FreeBytes - n.Packed - n.Unpacked; left*100 < disk.TotalBytes*evictionPercent {
		c.warn("disk", "make room soon: Kubernetes evicts pods when less than 10 % is free",
			"%s will have about %s of %s free", c.facts.DataParent, progress.Bytes(left), progress.Bytes(disk.TotalBytes))
	}
	if disk.TotalInodes > 0 && disk.FreeInodes < n.Inodes {
		c.problem("disk", "choose another --data-dir, or make the file system with more inodes",
			"%s has %d inodes free, the install needs about %d", c.facts.DataParent, disk.FreeInodes, n.Inodes)
	}
}

// blobExists says whether containerd's store has the blob.
func blobExists(p config.Paths, hex string) bool {
	_, err := os.Stat(filepath.Join(p.ContentBlobs(), hex))
	return err == nil
}
