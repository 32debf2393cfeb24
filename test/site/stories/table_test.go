package stories

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/test/site"
)

var (
	cutTime   = flag.Duration("cut", 10*time.Minute, "for how long the LAN is cut")
	tableFile = flag.String("table", "", "a page of the checkout whose table is written anew")
)

// Marks between which a page has the table.
const (
	tableBegins = "<!-- written by make test-site -->\n"
	tableEnds   = "<!-- end -->\n"
)

// machineFolder is where a machine keeps everything: another name in each run.
var machineFolder = regexp.MustCompile(`/var/tmp/ag-[0-9]+/[a-z0-9-]+`)

// told are the rows of the table, in the order of the stories.
var told struct {
	sync.Mutex
	rows []string
}

// tell adds a row to the table: what happened, what is promised, and what was seen.
func tell(t *testing.T, story, promised, format string, args ...any) {
	t.Helper()
	seen := strings.ReplaceAll(machineFolder.ReplaceAllString(fmt.Sprintf(format, args...), "…"), "|", "\\|")
	if t.Failed() {
		seen += " **failed**"
	}
	t.Logf("%s: %s (promised: %s)", story, seen, promised)
	told.Lock()
	defer told.Unlock()
	told.rows = append(told.rows, fmt.Sprintf("| %s | %s | %s |\n", story, promised, seen))
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if len(told.rows) > 0 {
		table := fmt.Sprintf("Seen on %s, with %d processors that all machines share.\n\n| Story | Promised | Seen |\n|---|---|---|\n%s",
			time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), strings.Join(told.rows, ""))
		fmt.Printf("\n%s\n", table)
		if err := writeTable(table); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// writeTable puts the table into the page that -table names.
func writeTable(table string) error {
	if *tableFile == "" {
		return nil
	}
	path := site.Built(*tableFile)
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(page), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !found || !ends {
		return fmt.Errorf("%s has no %q and %q to write the table between", path, strings.TrimSpace(tableBegins), strings.TrimSpace(tableEnds))
	}
	return os.WriteFile(path, []byte(before+tableBegins+table+tableEnds+after), 0o644)
}
