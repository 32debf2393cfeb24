package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"airgap/installer"
)

var update = flag.Bool("update", false, "write the golden screens anew")

// Each testdata/status/NAME.json is a status, as `airgap status --output json` prints it, and NAME.screen its screen.
func TestStatusScreens(t *testing.T) {
	files, err := filepath.Glob("testdata/status/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no statuses: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := new(installer.Status)
			if err := json.Unmarshal(data, s); err != nil {
				t.Fatal(err)
			}
			screen := statusScreen{now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
			got := screen.draw(s)
			golden := strings.TrimSuffix(file, ".json") + ".screen"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is no longer what is drawn (go test -tags desk ./cmd/airgap -update writes it):\n%s", golden, got)
			}
			for line := range strings.Lines(got) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > screenColumns && strings.Contains(strings.TrimSpace(line), " ") && strings.LastIndexByte(strings.TrimSpace(line), ' ') > labelColumns {
					t.Errorf("a line of %d columns: %s", n, line)
				}
			}
		})
	}
}

// Colours take no room, and no text from a cluster reaches the terminal as a command.
func TestStatusColours(t *testing.T) {
	s := &installer.Status{Service: installer.ServiceRunning, API: "ready", Problems: []string{"pod x/evil\x1b[2J\x07: \u009b31mwaits"}, Unseen: []string{}}
	loud := statusScreen{colour: true}
	quiet := statusScreen{}
	withColour, without := loud.draw(s), quiet.draw(s)
	if strings.ContainsAny(without, "\x1b\x07\u009b\ue000\ue001\ue002") {
		t.Errorf("%q", without)
	}
	for _, code := range colourCodes {
		withColour = strings.ReplaceAll(withColour, code, "")
	}
	if withColour != without {
		t.Errorf("with colours taken out:\n%q\nwithout:\n%q", withColour, without)
	}
}
