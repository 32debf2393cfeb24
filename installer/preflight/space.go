package preflight

import (
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/internal/progress"
	"airgap/registry/peer"
)

// Estimates of what a bundle takes on the disk. A manifest tells compressed sizes only.
const (
	unpackedPerCompressed   = 3         // image layers: gzip of programs and libraries
	unpackedPerPackedBinary = 5         // the distribution: zstd at its best level
	ReserveBytes            = 512 << 20 // of the data folder: datastore, logs, and room to breathe
	inodesPerUnpackedByte   = 1.0 / (24 << 10)
	reserveInodes           = 20_000

	evictionBytes = 512 << 20 // the node evicts pods when less is free: see docs/decisions/0008
)

// need is what an install takes, in bytes.
type need struct {
	Images    int64 // image blobs to be written as they are
	Unpacked  int64 // what comes out of them, estimated
	Others    int64 // the rest of the bundles, and distributions
	Installed int64 // what comes out of distributions, estimated
	Spool     int64 // the most that waits of what comes from other nodes
	Inodes    int64
}

// spaceNeeded estimates what the bundles take together on a machine that has the blobs for which has returns true. A blob that several
// have is there once. All layers of a bundle are stored; only those of this platform, taken to be an even share, are unpacked.
func spaceNeeded(bundles []*bundle.Manifest, has func(hex string) bool, fetched bool) need {
	var n need
	counted := map[string]bool{}
	for _, m := range bundles {
		var sizes []int64
		platforms := max(1, int64(len(m.Platforms)))
		for _, e := range m.Entries {
			if counted[e.SHA256] || has(e.SHA256) {
				continue
			}
			counted[e.SHA256] = true
			n.Inodes++
			sizes = append(sizes, e.Size)
			if e.Role == bundle.RoleLayer {
				n.Images += e.Size
				n.Unpacked += unpackedPerCompressed * e.Size / platforms
			} else {
				n.Others += e.Size
			}
		}
		for _, d := range m.Distributions {
			if SamePlatform(d.Platform, ThisPlatform()) {
				n.Others += d.Size // this machine's is staged, then kept beside what it unpacks to
				n.Installed += unpackedPerPackedBinary * d.Size
			}
		}
		if fetched { // each bundle's is empty before the next begins
			n.Spool = max(n.Spool, peer.SpoolBytes(sizes))
		}
	}
	n.Inodes += int64(float64(n.Unpacked+n.Installed)*inodesPerUnpackedByte) + reserveInodes
	return n
}

// disk holds the free space of each file system that the install writes to against what it writes there.
func (c *checker) disk() {
	f := c.facts
	if len(c.Bundles) == 0 {
		c.pass("%s of %s free on %s", progress.Bytes(f.Data.FreeBytes), progress.Bytes(f.Data.TotalBytes), f.Data.Parent)
		return
	}
	n := spaceNeeded(c.Bundles, f.HasBlob, c.Fetched)
	parts := []struct {
		volume Volume
		bytes  int64
		what   string
		stays  bool
	}{
		{f.Images, n.Images, "images", true},
		{f.Data, n.Others, "the rest of the bundle", true},
		{f.Images, n.Unpacked, "unpacked images", true},
		{f.Data, n.Installed, "unpacked executables", true},
		{f.Spool, n.Spool, "waiting for import", false},
		{f.Data, ReserveBytes, "reserve", false},
	}
	var done []uint64
	for _, p := range parts {
		if slices.Contains(done, p.volume.Device) {
			continue
		}
		done = append(done, p.volume.Device)
		disk := p.volume
		var total, stays int64
		var list []string
		for _, q := range parts {
			if q.volume.Device != disk.Device || q.bytes == 0 {
				continue
			}
			total += q.bytes
			if q.stays {
				stays += q.bytes
			}
			list = append(list, progress.Bytes(q.bytes)+" "+q.what)
		}
		left := disk.FreeBytes - stays
		switch {
		case total == 0:
		case disk.FreeBytes < total:
			c.fail("the install would end with a full disk", "free "+progress.Bytes(total-disk.FreeBytes)+" more there, or choose another --data-dir",
				"%s has %s free, the install needs about %s (%s)", disk.Parent, progress.Bytes(disk.FreeBytes), progress.Bytes(total), strings.Join(list, ", "))
		case left < 2*evictionBytes:
			c.warn("the node evicts pods when less than "+progress.Bytes(evictionBytes)+" are free", "make room soon", "%s will have about %s of %s free", disk.Parent, progress.Bytes(left), progress.Bytes(disk.TotalBytes))
		default:
			c.pass("%s free on %s, the install needs about %s (%s)", progress.Bytes(disk.FreeBytes), disk.Parent, progress.Bytes(total), strings.Join(list, ", "))
		}
	}
}

func (c *checker) inodes() {
	disk := c.facts.Images
	if disk.TotalInodes == 0 {
		c.pass("made as needed on %s", disk.Parent)
		return
	}
	needed := int64(reserveInodes)
	if len(c.Bundles) > 0 {
		needed = spaceNeeded(c.Bundles, c.facts.HasBlob, c.Fetched).Inodes
	}
	if disk.FreeInodes < needed {
		c.fail("no more files can be made when they are used up", "choose another --data-dir, or make the file system with more inodes",
			"%s has %d inodes free, the install needs about %d", disk.Parent, disk.FreeInodes, needed)
		return
	}
	c.pass("%d free on %s", disk.FreeInodes, disk.Parent)
}
