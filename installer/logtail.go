package installer

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// logTailBytes is how much of a log's end is looked at for its last lines.
const logTailBytes = 64 << 10

func (s *supervised) logTail(lines int) string { return tailOf(s.paths.Log(), lines) }

func (s *systemd) logTail(lines int) string {
	if !s.booted {
		return ""
	}
	out, err := exec.Command("journalctl", "--unit", s.unit(), "--lines", strconv.Itoa(lines), "--no-pager", "--output", "cat").Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// tailOf returns the last lines of a file; nothing if it cannot be read.
func tailOf(path string, lines int) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > logTailBytes {
		if _, err := file.Seek(-logTailBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(file, logTailBytes))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
