package site

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"slices"
	"strings"

	"airgap/internal/hostinfo"
)

// HashMachineID is what [JoinRequest] tells of a machine's ID (machine-id(5), which wants it to be told to nobody as it is);
// empty if it has none yet.
func HashMachineID(host hostinfo.Host) string {
	data, err := fs.ReadFile(host.FS, "etc/machine-id")
	id := strings.TrimSpace(string(data))
	if err != nil || id == "" || id == "uninitialized" {
		return ""
	}
	return hashFor("airgap machine-id", []byte(id))
}

// HashHostKeys is what JoinRequest tells of a machine's SSH host keys; empty if it has none.
func HashHostKeys(host hostinfo.Host) string {
	files, err := fs.Glob(host.FS, "etc/ssh/ssh_host_*_key.pub")
	if err != nil {
		return ""
	}
	var keys []string
	for _, file := range files {
		data, err := fs.ReadFile(host.FS, file)
		// Type and key; the comment behind them names the machine that made them.
		if fields := strings.Fields(string(data)); err == nil && len(fields) >= 2 {
			keys = append(keys, fields[0]+" "+fields[1])
		}
	}
	if len(keys) == 0 {
		return ""
	}
	slices.Sort(keys)
	return hashFor("airgap host keys", []byte(strings.Join(keys, "\n")))
}

func hashFor(purpose string, data []byte) string {
	sum := sha256.Sum256(append([]byte(purpose+"\n"), data...))
	return hex.EncodeToString(sum[:])
}
