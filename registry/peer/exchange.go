package peer

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"airgap/internal/site"
)

// Bounds of one question.
const (
	maxDigests = 1 << 14 // in Have and Want each; more of them are told and asked for later
	maxReports = 256     // in Failed and Done each
	maxSlots   = 8
)

// question is an [site.ExchangeRequest] that makes sense.
type question struct {
	address string // "address:port": the host that asks, at the port that it says
	host    string
	have    []key
	want    []key
	done    []report
	failed  []report
	slots   int
}

// report is what became of taking a blob from a peer.
type report struct {
	digest key
	from   string
	why    string
}

// readQuestion reads a question from its body. The machine's address is that of the connection: nobody can name a
// third one.
func readQuestion(r *http.Request) (*question, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, site.MaxMessageBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > site.MaxMessageBytes {
		return nil, fmt.Errorf("more than %d bytes", site.MaxMessageBytes)
	}
	var request site.ExchangeRequest
	if err := json.Unmarshal(data, &request); err != nil {
		return nil, err
	}
	return parseQuestion(&request, r.RemoteAddr)
}

// parseQuestion checks a question that came from remote, "address:port".
func parseQuestion(request *site.ExchangeRequest, remote string) (*question, error) {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return nil, fmt.Errorf("the connection comes from %q, which is no address", remote)
	}
	_, text, err := net.SplitHostPort(request.Address)
	if err != nil {
		return nil, fmt.Errorf("address %q: want address:port", request.Address)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("address %q: %q is no port", request.Address, text)
	}
	host := from.Addr().Unmap()
	q := &question{address: netip.AddrPortFrom(host, uint16(port)).String(), host: host.String(), slots: request.Slots}
	if q.slots < 0 || q.slots > maxSlots {
		return nil, fmt.Errorf("slots %d: want 0 to %d", q.slots, maxSlots)
	}
	if q.have, err = parseDigests("have", request.Have); err != nil {
		return nil, err
	}
	if q.want, err = parseDigests("want", request.Want); err != nil {
		return nil, err
	}
	if q.done, err = parseReports("done", request.Done); err != nil {
		return nil, err
	}
	q.failed, err = parseReports("failed", request.Failed)
	return q, err
}

func parseDigests(field string, list []string) ([]key, error) {
	if len(list) > maxDigests {
		return nil, fmt.Errorf("%s has %d digests, at most %d are allowed at once", field, len(list), maxDigests)
	}
	keys := make([]key, len(list))
	for i, text := range list {
		var err error
		if keys[i], err = parseKey(text); err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
	}
	return keys, nil
}

func parseReports(field string, list []site.Take) ([]report, error) {
	if len(list) > maxReports {
		return nil, fmt.Errorf("%s has %d entries, at most %d are allowed at once", field, len(list), maxReports)
	}
	reports := make([]report, len(list))
	for i, take := range list {
		digest, err := parseKey(take.Digest)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		reports[i] = report{digest, take.From, take.Why}
	}
	return reports, nil
}

const digestPrefix = "sha256:"

// parseKey reads "sha256:" and 64 lower-case hex digits.
func parseKey(text string) (k key, err error) {
	digits, ok := strings.CutPrefix(text, digestPrefix)
	if !ok || len(digits) != hex.EncodedLen(len(k)) || strings.ToLower(digits) != digits {
		return k, errDigest(text)
	}
	if _, err := hex.Decode(k[:], []byte(digits)); err != nil {
		return k, errDigest(text)
	}
	return k, nil
}

func errDigest(text string) error {
	return fmt.Errorf("%.80q is no digest: want sha256: and 64 lower-case hex digits", text)
}

func (k key) String() string { return digestPrefix + hex.EncodeToString(k[:]) }

// ServeHTTP answers POST exchange. The caller has made sure that a node asks.
func (t *Tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		refuse(w, http.StatusMethodNotAllowed, site.CodeRequest, "%s: want POST", r.Method)
		return
	}
	q, err := readQuestion(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, site.CodeRequest, "exchange: %v", err)
		return
	}
	answer, err := t.answer(q)
	if errors.Is(err, errFull) {
		refuse(w, http.StatusServiceUnavailable, site.CodeBusy, "exchange: %v", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client has gone
}
