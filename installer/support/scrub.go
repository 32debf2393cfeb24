package support

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// hidden stands for what was taken out.
const hidden = "(hidden)"

// minSecretBytes is the length from which a value is searched for: shorter ones would take words out of everything.
const minSecretBytes = 6

// scrubber takes secrets out of texts: those it was told, in the forms in which they travel, and what looks like one.
type scrubber struct {
	known  map[string]bool
	ready  *strings.Replacer // of known; nil: to be made
	hidden int               // how many texts were changed
}

func newScrubber() *scrubber { return &scrubber{known: map[string]bool{}} }

// learn adds a secret: as it is, each line of it by itself, in base64, and as part of a URL.
func (s *scrubber) learn(secret string) {
	secret = strings.TrimSpace(secret)
	if len(secret) < minSecretBytes {
		return
	}
	s.ready = nil
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		// With and without the newline that an editor leaves at the end; the last group depends on what follows.
		forms = append(forms, encoding.EncodeToString([]byte(secret)), encoding.EncodeToString([]byte(secret+"\n")))
	}
	for line := range strings.Lines(secret) {
		if line = strings.TrimSpace(line); len(line) >= 16 && !strings.HasPrefix(line, "-----") {
			forms = append(forms, line)
		}
	}
	for _, form := range forms {
		s.known[strings.TrimRight(form, "=")] = true
	}
}

// privateKey is a key in PEM, or what a cut has left of one.
var privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)`)

// keyEnd is the end of a key whose begin was cut off.
var keyEnd = regexp.MustCompile(`-----END [A-Z ]*PRIVATE KEY-----`)

// looks are the patterns of secrets that nobody told us, and what is written in their place.
var looks = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`LS0tLS1CRUdJTi[A-Za-z0-9+/=]+`), hidden},                                        // PEM in base64
	{regexp.MustCompile(`K10[0-9a-f]{64}::[^\s"']+`), hidden},                                            // a join token
	{regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`), hidden},                                        // a bootstrap token
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+`), hidden},            // a JSON web token
	{regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*["']?(?:bearer|basic) )\S+`), "${1}" + hidden}, // a header
	{regexp.MustCompile(`(://[^\s/@:"']*:)[^\s@/"']+@`), "${1}" + hidden + "@"},                          // user and password of a URL
	{regexp.MustCompile(`\b([\w.-]+:)[^\s@"']+(@(?:tcp|unix)\()`), "${1}" + hidden + "${2}"},             // the same for MySQL
	{regexp.MustCompile(`(?i)((?:pass(?:word|wd|phrase)|token|api[-_]?key|client[-_]?secret|secret[-_]?key|access[-_]?key|key-data)["']?\s*[:=]\s*["']?)[^\s"',}&]+`), "${1}" + hidden},
	{regexp.MustCompile(`(?i)(--[a-z-]*(?:password|token|secret)[ =])\S+`), "${1}" + hidden}, // an argument
}

// scrub returns the text without secrets.
func (s *scrubber) scrub(text []byte) []byte {
	if s.ready == nil {
		var pairs []string
		forms := make([]string, 0, len(s.known))
		for form := range s.known {
			forms = append(forms, form)
		}
		// The replacer prefers what comes first: a secret that contains another goes whole.
		slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
		for _, form := range forms {
			pairs = append(pairs, form, hidden)
		}
		s.ready = strings.NewReplacer(pairs...)
	}
	clean := privateKey.ReplaceAll(text, []byte(hidden))
	if at := keyEnd.FindIndex(clean); at != nil {
		clean = append([]byte(hidden), clean[at[1]:]...)
	}
	clean = []byte(s.ready.Replace(string(clean)))
	for _, look := range looks {
		clean = look.pattern.ReplaceAll(clean, []byte(look.instead))
	}
	if !bytes.Equal(clean, text) {
		s.hidden++
	}
	return clean
}
