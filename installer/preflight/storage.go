package preflight

import (
	"slices"
	"strings"

	"airgap/internal/progress"
)

// networked are file systems that other machines serve, foreign those of other systems; neither keeps what a node writes.
var (
	networked = []string{"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p", "afs", "lustre", "virtiofs"}
	foreign   = []string{"vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk", "hfsplus"}
	passing   = []string{"tmpfs", "ramfs"}
)

// minLogBytes is what pods' logs should find where they have a file system of their own.
const minLogBytes = 500 << 20

func (c *checker) dataDir() {
	f, dir := c.facts, c.Server.DataDir
	const other = "choose a folder on a disk of this machine with --data-dir"
	if len(f.Foreign) > 0 {
		c.fail("an uninstall removes the folder whole", "choose an empty folder with --data-dir",
			"%s holds what is not airgap's: %s", dir, strings.Join(f.Foreign[:min(3, len(f.Foreign))], ", "))
	}
	switch d := f.Data; {
	case slices.Contains(networked, d.Type) || strings.HasPrefix(d.Type, "fuse."):
		c.fail("the datastore's file would be damaged, and images cannot be unpacked there", other, "%s is on a network or user file system (%s)", d.Parent, d.Type)
	case slices.Contains(foreign, d.Type):
		c.fail("it knows neither links nor owners of files", other, "%s is on %s", d.Parent, d.Type)
	case slices.Contains(passing, d.Type):
		c.warn("the node and all its data are gone after a reboot", other, "%s is on %s, in memory", d.Parent, d.Type)
	}
	if f.Data.NoExec {
		c.fail("the executables live there", "remount it with exec (mount -o remount,exec …, and in /etc/fstab), or choose another --data-dir", "%s is mounted noexec", f.Data.Parent)
	}
	if f.Data.ReadOnly {
		c.fail("everything of the node is written there", "remount it writable, or choose another --data-dir; if it was writable, the disk may be failing: see dmesg", "%s is mounted read-only", f.Data.Parent)
	}
	c.otherwise("%s, on %s", dir, f.Data.Type)
}

func (c *checker) logs() {
	l := c.facts.Logs
	if c.Server.DisableAgent || l.Device == c.facts.Data.Device {
		return
	}
	switch {
	case l.ReadOnly:
		c.fail("no pod starts without", "remount it writable", "%s, where pods' logs go, is mounted read-only", l.Parent)
	case l.FreeBytes < minLogBytes && l.TotalBytes > 0:
		c.warn("pods' logs fill it", "make room there", "%s, where pods' logs go, has %s free", l.Parent, progress.Bytes(l.FreeBytes))
	}
	c.otherwise("%s free on %s", progress.Bytes(l.FreeBytes), l.Parent)
}

func (c *checker) etc() {
	if v := c.facts.Config; v.ReadOnly {
		c.fail("the configuration and the service are written there", "remount it writable", "%s is mounted read-only", v.Parent)
		return
	}
	c.pass("%s can be written", c.facts.Config.Parent)
}

func (c *checker) command() {
	v := c.facts.Command
	if v.ReadOnly {
		c.warn("there is no command `airgap` for all users", "call it as "+c.Server.DataDir+"/current/airgap", "%s is mounted read-only", v.Parent)
		return
	}
	c.pass("%s/airgap", c.BinDir)
}
